package kube

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
)

// RegistryPort is the port of Host on which a test may serve an image registry,
// over plain HTTP.
const RegistryPort = 5000

// writeFiles writes the configuration of all programs.
func (c *Cluster) writeFiles(program string) error {
	for _, dir := range []string{"bin", "log", "pki", "cni", "images", "volumes", "certs.d/" + c.registry()} {
		if err := os.MkdirAll(c.path(dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"} {
		if err := os.Symlink(program, c.path(filepath.Join("bin", name))); err != nil {
			return err
		}
	}
	if err := c.writeKeys(); err != nil {
		return err
	}
	for name, content := range map[string]string{
		"containerd.toml":                         c.containerdConfig(),
		"cni/10-pods.conflist":                    c.networkConfig(),
		"kubelet.yaml":                            c.kubeletConfig(),
		"certs.d/" + c.registry() + "/hosts.toml": fmt.Sprintf("server = \"http://%[1]s\"\n[host.\"http://%[1]s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", c.registry()),
		"tokens.csv": `admintoken,admin,u1,"system:masters"
controllerstoken,system:kube-controller-manager,u2
schedulertoken,system:kube-scheduler,u3
nodetoken,system:node:` + nodeName + `,u4,"system:nodes"
proxytoken,system:kube-proxy,u5
`,
		"admin.kubeconfig":       c.KubeconfigFor("admintoken"),
		"controllers.kubeconfig": c.KubeconfigFor("controllerstoken"),
		"scheduler.kubeconfig":   c.KubeconfigFor("schedulertoken"),
		"node.kubeconfig":        c.KubeconfigFor("nodetoken"),
		"proxy.kubeconfig":       c.KubeconfigFor("proxytoken"),
	} {
		if err := os.WriteFile(c.path(name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// registry is where images may be pulled from.
func (c *Cluster) registry() string { return fmt.Sprintf("%s:%d", c.Host(), RegistryPort) }

// KubeconfigFor is the kubeconfig of whoever has a token.
func (c *Cluster) KubeconfigFor(token string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://%s", certificate-authority: %s}}]
users: [{name: user, user: {token: %s}}]
contexts: [{name: test, context: {cluster: test, user: user}}]
current-context: test
`, c.address(), c.path("pki/apiserver.crt"), token)
}

func (c *Cluster) containerdConfig() string {
	return fmt.Sprintf(`version = 2
root = "%[1]s/containerd"
state = "%[1]s/run"
[grpc]
  address = "%[1]s/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[2]s"
  restrict_oom_score_adj = true # root may lack CAP_SYS_RESOURCE
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "%[1]s/certs.d"
`, c.dir, pauseImage)
}

func (c *Cluster) networkConfig() string {
	return fmt.Sprintf(`{"cniVersion":"0.4.0","name":"pods","plugins":[{"type":"ptp","ipMasq":false,"ipam":{"type":"host-local",`+
		`"ranges":[[{"subnet":"%s"}]],"routes":[{"dst":"0.0.0.0/0"}],"dataDir":"%s"}}]}`, c.pods(), c.path("addresses"))
}

func (c *Cluster) kubeletConfig() string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
address: %[1]s
readOnlyPort: 0
healthzPort: 0
cgroupDriver: cgroupfs
cgroupRoot: /%[2]s
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
containerRuntimeEndpoint: unix://%[3]s/containerd.sock
evictionHard: {memory.available: "50Mi", nodefs.available: "1%%", imagefs.available: "1%%"}
imageGCHighThresholdPercent: 100
clusterDNS: ["10.96.0.10"]
clusterDomain: cluster.local
makeIPTablesUtilChains: false
nodeStatusUpdateFrequency: 2s
serializeImagePulls: false
kubeAPIQPS: 200
kubeAPIBurst: 400
podLogsDir: %[3]s/podlogs
maxPods: 200
`, c.address(), c.namespace(), c.dir)
}

// writeKeys makes the key that service accounts' tokens are signed with.
func (c *Cluster) writeKeys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"pki/sa.key": {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)},
		"pki/sa.pub": {Type: "PUBLIC KEY", Bytes: public},
	} {
		if err := os.WriteFile(c.path(name), pem.EncodeToMemory(block), 0o600); err != nil {
			return err
		}
	}
	return nil
}
