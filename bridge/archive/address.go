package archive

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// publicOnly refuses to connect to an address that is not public. The dialer calls it with what a name was resolved to,
// just before it connects: a name that resolves differently the next time changes nothing.
func publicOnly(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q is no address", ErrRefused, address)
	}
	if !isPublic(ap.Addr()) {
		return fmt.Errorf("%w: address %s is not public", ErrRefused, ap.Addr())
	}
	return nil
}

// notPublic are the networks of the IANA special-purpose registries (2026) that are not globally reachable, and 6to4,
// which carries an IPv4 address in a form of its own. Of IPv6 only globalIPv6 is public at all.
var notPublic = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
	"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

var globalIPv6 = netip.MustParsePrefix("2000::/3")

// nat64 is how an IPv4 host looks from a network that has only IPv6: the last four bytes are its address.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, p := range list {
		all[i] = netip.MustParsePrefix(p)
	}
	return all
}

func isPublic(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	if !ip.Is4() && !globalIPv6.Contains(ip) {
		return false
	}
	return !slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Hosts are exceptions: hosts that may be fetched from by plain http and wherever they are.
type Hosts []string // host or host:port, in lower case

var hostPattern = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_.])?$`)

// ParseHosts reads a comma-separated list of host or host:port. An IPv6 address stands in brackets. The error names
// every item that is wrong.
func ParseHosts(list string) (Hosts, error) {
	var hosts Hosts
	var errs []error
	for item := range strings.SplitSeq(list, ",") {
		item = strings.ToLower(strings.TrimSpace(item))
		if item == "" {
			continue
		}
		if !validHost(item) {
			errs = append(errs, fmt.Errorf("%q is not a host or host:port", item))
			continue
		}
		hosts = append(hosts, item)
	}
	return hosts, errors.Join(errs...)
}

func validHost(item string) bool {
	if ap, err := netip.ParseAddrPort(item); err == nil {
		return ap.Port() > 0
	}
	if inner, ok := strings.CutPrefix(item, "["); ok {
		ip, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && ip.Is6() && strings.HasSuffix(inner, "]")
	}
	host, port, hasPort := strings.Cut(item, ":")
	if n, err := strconv.Atoi(port); hasPort && (err != nil || n < 1 || n > 65535) {
		return false
	}
	return hostPattern.MatchString(host)
}

// allow reports whether the list names a URL's host, with its port or with none.
func (h Hosts) allow(host, port string) bool {
	host = strings.ToLower(host)
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	for _, item := range h {
		if item == host || item == host+":"+port {
			return true
		}
	}
	return false
}
