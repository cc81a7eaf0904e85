// Command kubeall is etcd and the components of Kubernetes in one program, built from their published Go modules, so
// that tests have a real cluster where no image and no package of it can be downloaded. Which component it is depends
// on the name that it is called by: a symbolic link named after the component.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	name := filepath.Base(os.Args[0])
	var component *cobra.Command
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
		return
	case "kube-apiserver":
		component = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		component = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		component = scheduler.NewSchedulerCommand()
	case "kubelet":
		component = kubelet.NewKubeletCommand(context.Background())
	case "kube-proxy":
		component = proxy.NewProxyCommand()
	default:
		fmt.Fprintln(os.Stderr, "call it through a symbolic link named after a component, not as", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(component))
}
