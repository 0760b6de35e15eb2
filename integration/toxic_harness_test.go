package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// A toxic is one thing that is wrong with a connection.
type toxic struct {
	Type       string         `json:"type"`
	Stream     string         `json:"stream,omitempty"` // "downstream", what the server says, unless told otherwise
	Attributes map[string]int `json:"attributes"`       // times in ms, a slicer's delay in µs, a rate in KB/s
}

// A toxicNetwork is the way to a server: through proxies each of which spoils
// its connections in its own way. A schedule says which connection goes
// through which, so that none changes while it is in use.
type toxicNetwork struct {
	addrs []string

	mu       sync.Mutex
	dialed   int
	schedule func(dialed int) int
}

// newToxicNetwork starts one proxy for each set of toxics.
func newToxicNetwork(t testing.TB, upstream string, schedule func(dialed int) int, sets ...[]toxic) *toxicNetwork {
	t.Helper()
	target, err := url.Parse(upstream)
	require.NoError(t, err)
	addrs, stop, err := startProxies(target.Host, sets)
	t.Cleanup(stop)
	require.NoError(t, err)
	return &toxicNetwork{schedule: schedule, addrs: addrs}
}

// startProxies starts one proxy for each set of toxics, and returns where they
// listen.
func startProxies(upstream string, sets [][]toxic) (addrs []string, stop func(), err error) {
	var proxies []*toxiproxy.Proxy
	stop = func() {
		for _, proxy := range proxies {
			proxy.Stop()
		}
	}
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	for _, set := range sets {
		proxy := toxiproxy.NewProxy(server, "proxy", "127.0.0.1:0", upstream)
		if err := proxy.Start(); err != nil {
			return nil, stop, err
		}
		proxies = append(proxies, proxy)
		for _, one := range set {
			text, err := json.Marshal(one)
			if err != nil {
				return nil, stop, err
			}
			if _, err := proxy.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
				return nil, stop, err
			}
		}
		addrs = append(addrs, proxy.Listen)
	}
	return addrs, stop, nil
}

// inTurn is the schedule that takes one proxy after the other.
func inTurn(proxies int) func(int) int {
	return func(dialed int) int { return dialed % proxies }
}

// atRandom is the schedule that a seed gives.
func atRandom(seed uint64, proxies int) func(int) int {
	random := rand.New(rand.NewPCG(seed, 0))
	return func(int) int { return random.IntN(proxies) }
}

func (n *toxicNetwork) dial(ctx context.Context, network string) (net.Conn, error) {
	n.mu.Lock()
	addr := n.addrs[n.schedule(n.dialed)]
	n.dialed++
	n.mu.Unlock()
	return new(net.Dialer).DialContext(ctx, network, addr)
}

// connections returns how many have been made.
func (n *toxicNetwork) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialed
}

// httpClient returns an HTTP client whose requests all go this way, each over
// a connection of its own: sound ones kept alive would soon be all there is.
func (n *toxicNetwork) httpClient(t testing.TB) *http.Client {
	return n.httpClientFor(t, "")
}

// httpClientFor returns an HTTP client whose connections to one address, or
// to all if that is empty, go this way.
func (n *toxicNetwork) httpClientFor(t testing.TB, only string) *http.Client {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if only != "" && addr != only {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
		return n.dial(ctx, network)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
