//! Policy: which hosts an app may ask, and which addresses nobody may.
//!
//! A pattern is `host`, `host:port`, `*.domain` or `*`. Without a port it means
//! the ports of `http` and `https`. `private` patterns may lead to addresses of
//! this machine and of private networks, `public` ones may not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

const USUAL_PORTS: [u16; 2] = [80, 443];

/// One entry of `outgoing.hosts` or `outgoing.private_hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    host: Name,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Any,
    /// `*.example.com`: what ends so, not `example.com` itself.
    Below(String),
    Exactly(String),
}

/// Where an app may send requests; nowhere by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    pub public: Vec<Pattern>,
    pub private: Vec<Pattern>,
    /// A file of certificates, PEM. Who is behind TLS must be vouched for by one of them
    /// instead of by the authorities that this machine trusts.
    pub ca: Option<PathBuf>,
}

/// What the policy says to a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    No,
    /// If it has a public address.
    Public,
    Anywhere,
}

impl Pattern {
    /// # Errors
    /// In words: what was found, what is wanted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} names no host; write `api.example.com`, `*.example.com`, \
                 `localhost:9000`, `[::1]:80` or `*`"
            )
        };
        let (host, port) = split_port(text).ok_or_else(wrong)?;
        let name = host.strip_prefix("*.").unwrap_or(host);
        if host == "*" {
            return Ok(Self {
                host: Name::Any,
                port,
            });
        }
        let is_address = name.parse::<IpAddr>().is_ok();
        if !(is_address && name == host || is_domain(name)) {
            return Err(wrong());
        }
        let name = name.to_ascii_lowercase();
        let host = if name.len() == host.len() {
            Name::Exactly(name)
        } else {
            Name::Below(name)
        };
        Ok(Self { host, port })
    }

    /// `host` is in lower case, an IPv6 address without brackets.
    fn covers(&self, host: &str, port: u16) -> bool {
        let named = match &self.host {
            Name::Any => true,
            Name::Below(domain) => host
                .strip_suffix(domain.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Name::Exactly(name) => host == name,
        };
        let ported = match self.port {
            Some(wanted) => wanted == port,
            None => USUAL_PORTS.contains(&port),
        };
        named && ported
    }
}

impl Policy {
    #[must_use]
    pub fn ask(&self, host: &str, port: u16) -> Allowed {
        let covered = |patterns: &[Pattern]| patterns.iter().any(|one| one.covers(host, port));
        if covered(&self.private) {
            Allowed::Anywhere
        } else if covered(&self.public) {
            Allowed::Public
        } else {
            Allowed::No
        }
    }
}

/// Host and port; brackets of an IPv6 address are taken off.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().ok()?),
            None if rest.is_empty() => None,
            None => return None,
        };
        return Some((host, port));
    }
    match text.rsplit_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    name.split('.').all(label)
}

/// Whether an address is on the open internet: not this machine's, not a private
/// network's, not link-local (where clouds keep their metadata), not multicast,
/// not reserved, and not one of those in the clothes of another family.
#[must_use]
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        // "This network", shared address space, protocol assignments, benchmarks.
        || a == 0
        || (a == 100 && b & 0xc0 == 64)
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && b & 0xfe == 18)
        // Multicast, reserved, broadcast.
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Mapped IPv4.
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        // NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        // 6to4.
        [0x2002, high, low, ..] => v4(high, low),
        // Protocol assignments (Teredo among them), documentation.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        // Only this eighth is handed out as global unicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_lead_back_are_not_public() {
        let private = [
            "127.0.0.1",
            "127.9.9.9",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
        ];
        for text in private {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in ["1.1.1.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_says() {
        let policy = Policy {
            public: ["api.Example.com", "*.example.org:8080"]
                .map(|text| Pattern::parse(text).unwrap())
                .to_vec(),
            private: vec![Pattern::parse("[::1]:9000").unwrap()],
            ca: None,
        };
        let cases = [
            ("api.example.com", 443, Allowed::Public),
            ("api.example.com", 8080, Allowed::No),
            ("x.api.example.com", 443, Allowed::No),
            ("a.b.example.org", 8080, Allowed::Public),
            ("example.org", 8080, Allowed::No),
            ("badexample.org", 8080, Allowed::No),
            ("::1", 9000, Allowed::Anywhere),
            ("::1", 9001, Allowed::No),
        ];
        for (host, port, wanted) in cases {
            assert_eq!(policy.ask(host, port), wanted, "{host}:{port}");
        }
    }

    #[test]
    fn a_pattern_is_a_host_and_nothing_else() {
        for text in [
            "",
            "http://a.test",
            "a.test/x",
            "*.*",
            "a:b",
            "[::1",
            "*.1.2.3.4:x",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        assert!(Pattern::parse("*").is_ok());
    }
}
