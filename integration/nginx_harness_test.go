package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An nginx is a running nginx.
type nginx struct {
	addr    string
	dir     string
	process *process
}

// nginxConfig is what all configurations have in common. The access log has
// one line a request: its protocol, method, path, Range, status and bytes.
const nginxConfig = `
%s
daemon off;
worker_processes 1;
worker_shutdown_timeout 100ms;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  default_type application/octet-stream;
  log_format parts '$server_protocol $request_method $request_uri [$http_range] $status $body_bytes_sent';
  access_log access.log parts;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  %s
}
`

// startNginx starts nginx with one server block. "ADDR" in the
// configuration is replaced by the address to listen on.
func startNginx(t testing.TB, httpBlock string) *nginx {
	t.Helper()
	program := requireProgram(t, "nginx")
	n := &nginx{addr: freeAddr(t), dir: t.TempDir()}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // others can't look into a test's directory
	}
	config := fmt.Sprintf(nginxConfig, user, strings.ReplaceAll(httpBlock, "ADDR", n.addr))
	require.NoError(t, os.WriteFile(filepath.Join(n.dir, "nginx.conf"), []byte(config), 0o600))
	n.process = startProcess(t, n.addr, exec.Command(program, "-p", n.dir, "-c", "nginx.conf", "-e", "stderr"))
	return n
}

// reload makes nginx read its configuration again. The worker that was serving
// goes on for the shutdown timeout.
func (n *nginx) reload() error { return n.process.cmd.Process.Signal(syscall.SIGHUP) }

// quit stops nginx, which completes the access log, and returns its lines.
func (n *nginx) quit(t testing.TB) []string {
	t.Helper()
	n.process.stop(syscall.SIGQUIT)
	content, err := os.ReadFile(filepath.Join(n.dir, "access.log"))
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(content)), "\n")
}

// An authority is a private CA with one certificate for loopback.
type authority struct {
	pool              *x509.CertPool
	certFile, keyFile string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	caDER, err := x509.CreateCertificate(rand.Reader, template, template, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	ca, err := x509.ParseCertificate(caDER)
	require.NoError(t, err)

	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: template.NotBefore, NotAfter: template.NotAfter,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)

	dir := t.TempDir()
	a := &authority{x509.NewCertPool(), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	a.pool.AddCert(ca)
	writePEM := func(filename, kind string, der []byte) {
		block := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
		require.NoError(t, os.WriteFile(filename, block, 0o600))
	}
	writePEM(a.certFile, "CERTIFICATE", der)
	writePEM(a.keyFile, "PRIVATE KEY", keyDER)
	return a
}

// directives returns nginx's lines for the certificate.
func (a *authority) directives() string {
	return fmt.Sprintf("ssl_certificate %s; ssl_certificate_key %s;", a.certFile, a.keyFile)
}

// httpClient returns an HTTP client that trusts the authority alone.
func (a *authority) httpClient(t testing.TB) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
