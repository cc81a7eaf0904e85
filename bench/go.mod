module github.com/streamspace/streamspace/bench

go 1.26.8

require (
	github.com/streamspace/streamspace v0.0.0
	go.uber.org/goleak v1.3.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	golang.org/x/sync v0.24.0 // indirect
)

// The product's checkout around this module is what is measured.
replace github.com/streamspace/streamspace => ../
