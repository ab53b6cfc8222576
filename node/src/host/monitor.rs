//! What happens to the machine under the agent: its interface, its addresses.

use rtnetlink::MulticastGroup;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::error::HostError;

/// An interface as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub mtu: u32,
}

/// What somebody else did to our interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Deleted, or moved to another network namespace.
    Gone,
    /// Another interface of the same name is there.
    Replaced,
    /// Set down, or its MTU changed: putting it right is possible.
    Altered,
}

impl Device {
    /// Compares what is with what should be.
    pub fn change(&self, now: Option<&Device>, mtu: u16) -> Option<Change> {
        match now {
            None => Some(Change::Gone),
            Some(now) if now.index != self.index => Some(Change::Replaced),
            Some(now) if !now.up || now.mtu != u32::from(mtu) => Some(Change::Altered),
            Some(_) => None,
        }
    }
}

/// A message whenever links or addresses of this host change. Bursts are merged.
pub fn watch_addresses() -> Result<mpsc::Receiver<()>, HostError> {
    let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)
        .map_err(|source| HostError::Io { what: "watch the addresses of this host", source })?;
    let connection = tokio::spawn(connection);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let _open = handle;
        while messages.next().await.is_some() {
            if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                break;
            }
        }
        // First the connection, then its listener: the library warns of each message that nobody listens to, with all that is in it.
        connection.abort();
        let _ = connection.await;
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_lose_the_interface_is_seen() {
        let ours = Device { index: 7, name: "warren0".to_owned(), up: true, mtu: 1420 };
        assert_eq!(ours.change(Some(&ours), 1420), None);
        assert_eq!(ours.change(None, 1420), Some(Change::Gone));
        assert_eq!(ours.change(Some(&Device { index: 8, ..ours.clone() }), 1420), Some(Change::Replaced));
        assert_eq!(ours.change(Some(&Device { up: false, ..ours.clone() }), 1420), Some(Change::Altered));
        assert_eq!(ours.change(Some(&Device { mtu: 9000, ..ours.clone() }), 1420), Some(Change::Altered));
    }
}
