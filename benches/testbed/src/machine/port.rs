use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

use super::directory::{Lock, base};
use crate::Error;

/// Below the range from which Linux (32768) and macOS (49152) take the near ends of outgoing connections: a
/// server that is killed and started again finds its port free even when thousands of clients are busy.
const RANGE: RangeInclusive<u16> = 20_000..=32_000;

/// A loopback port that no other test process takes while this lives, also while the server is down.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _reserved: Lock,
}

impl Port {
    /// Finds a port on which nothing listens.
    ///
    /// # Errors
    /// When none of the range is free, which means that something leaks servers.
    pub(crate) fn reserve() -> Result<Self, Error> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let directory = base()?.join("ports");
        fs::create_dir_all(&directory)
            .map_err(|e| Error::io(format!("make {}", directory.display()), e))?;
        let (first, span) = allowed();
        for _ in 0..span {
            // Processes start far apart, so they rarely meet at one lock.
            let step = std::process::id()
                .wrapping_mul(2_654_435_761)
                .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
            let number = first + u16::try_from(step % span).unwrap_or(0);
            if let Some(lock) = Lock::attempt(&directory.join(number.to_string()))?
                && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok()
            {
                return Ok(Self {
                    number,
                    _reserved: lock,
                });
            }
        }
        Err(Error::unsupported(
            "finding a free port between 20000 and 32000",
            "end what listens there",
        ))
    }

    pub(crate) fn number(&self) -> u16 {
        self.number
    }
}

fn allowed() -> (u16, u32) {
    let system = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let range = outside(
        system
            .split_whitespace()
            .next()
            .and_then(|low| low.parse().ok()),
    );
    (*range.start(), u32::from(range.end() - range.start()) + 1)
}

/// The part of our range below the system's own, or all of it when too little would be left.
fn outside(system_low: Option<u16>) -> RangeInclusive<u16> {
    match system_low {
        Some(low) if low > RANGE.start() + 500 => *RANGE.start()..=(low - 1).min(*RANGE.end()),
        _ => RANGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_below_those_of_outgoing_connections() {
        assert_eq!(outside(Some(32_768)), 20_000..=32_000);
        assert_eq!(outside(Some(25_000)), 20_000..=24_999);
        assert_eq!(outside(Some(1_024)), RANGE);
        assert_eq!(outside(None), RANGE);
    }

    #[test]
    fn a_reserved_port_is_not_given_twice() {
        let ports: Vec<Port> = (0..20).map(|_| Port::reserve().unwrap()).collect();
        let numbers: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 20);
    }
}
