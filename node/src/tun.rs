//! The TUN device: made persistent, with the offloads this kernel has, read and written without blocking.

use std::io::{self, IoSlice, IoSliceMut};

use rustix::io::{Errno, ReadWriteFlags};
use tun_rs::{DeviceBuilder, SyncDevice};
use warren_node_core::dataplane::VNET_LEN;
use warren_node_core::packet::merge::MAX_PIECES;

use warren_kernel::datagram::Wait;

/// Room for the largest frame: vnet header and 64 KiB.
pub const MAX_FRAME: usize = VNET_LEN + 65_536;
/// Slices handed to one `writev`: the vnet header and every piece of the largest merged frame.
const MAX_PARTS: usize = 1 + MAX_PIECES;
/// "Where the file stands": a device has no offsets.
const NO_OFFSET: u64 = u64::MAX;

#[derive(Debug, thiserror::Error)]
pub enum TunError {
    #[error(
        "no TUN device on this host (/dev/net/tun: {0}): run `modprobe tun`; in a container pass `--device /dev/net/tun`"
    )]
    Missing(io::Error),
    #[error(
        "not allowed to make the TUN interface {name}: run as root, or give the agent CAP_NET_ADMIN (the systemd unit does)"
    )]
    NotAllowed { name: String },
    #[error(
        "the interface {name} is in use by another program: stop it, or choose another name with --interface"
    )]
    Busy { name: String },
    #[error("`{name}` is not an interface name: use 1 to 15 of a-z, A-Z, 0-9, `-`, `_` and `.`")]
    Name { name: String },
    /// Left by an agent with another number of packet workers: it must be made anew.
    #[error(
        "the interface {name} was made for another number of packet workers: run `warren-node down` first"
    )]
    Shape { name: String },
    #[error("cannot {action} the TUN interface {name}: {source}")]
    Io { name: String, action: &'static str, source: io::Error },
}

/// What the kernel took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offload {
    /// Frames carry a virtio header (`IFF_VNET_HDR`).
    pub vnet: bool,
    /// Merged TCP frames.
    pub tso: bool,
    /// Merged UDP frames (Linux 6.2 or newer).
    pub uso: bool,
}

pub struct Tun {
    /// One for each packet worker; the kernel spreads flows over them.
    queues: Vec<SyncDevice>,
    name: String,
    offload: Offload,
}

/// What became of one write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Whole,
    /// The kernel refused the offload the header asks for.
    OffloadRefused,
    /// Lost: the interface is down, gone, or out of buffers.
    Lost,
}

impl Tun {
    /// Makes `name`, or takes over the persistent one that an earlier agent left.
    pub fn open(name: &str, mtu: u16, workers: usize) -> Result<Tun, TunError> {
        check_name(name)?;
        // The library would make the device node itself; a host or container without one said no on purpose.
        if let Err(e) = std::fs::metadata("/dev/net/tun") {
            return Err(TunError::Missing(e));
        }
        let refused = |e: &io::Error| e.raw_os_error() == Some(Errno::INVAL.raw_os_error());
        let device = match build(name, true, workers) {
            Err(e) if refused(&e) => build(name, false, workers),
            other => other,
        };
        match device {
            Ok(device) => Tun::of(device, name, mtu, workers),
            Err(e) if refused(&e) && exists(name) => Err(TunError::Shape { name: name.to_owned() }),
            Err(e) => Err(open_error(name, e)),
        }
    }

    fn of(device: SyncDevice, name: &str, mtu: u16, workers: usize) -> Result<Tun, TunError> {
        let failed = |action| move |source| TunError::Io { name: name.to_owned(), action, source };
        device.persist().map_err(failed("keep"))?;
        device.set_mtu(mtu).map_err(failed("set the MTU of"))?;
        let offload = Offload { vnet: device.tcp_gso(), tso: device.tcp_gso(), uso: device.udp_gso() };
        let more = (1..workers).map(|_| device.try_clone()).collect::<io::Result<Vec<_>>>();
        let more = more.map_err(failed("open another queue of"))?;
        let queues: Vec<SyncDevice> = std::iter::once(device).chain(more).collect();
        for queue in &queues {
            queue.set_nonblocking(false).map_err(failed("configure"))?;
        }
        Ok(Tun { queues, name: name.to_owned(), offload })
    }

    /// The queue of a packet worker.
    pub fn queue(&self, worker: usize) -> Queue<'_> {
        let device = self.queues.get(worker).or_else(|| self.queues.first());
        Queue { device, vnet: self.offload.vnet }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn offload(&self) -> Offload {
        self.offload
    }
}

/// One queue of the device. Writes never block.
#[derive(Clone, Copy)]
pub struct Queue<'a> {
    device: Option<&'a SyncDevice>,
    vnet: bool,
}

impl Queue<'_> {
    /// One frame: vnet header and packet. Without `IFF_VNET_HDR` the header is zeros. Sleeps until there is one, or says
    /// `WouldBlock`.
    pub fn read(&self, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
        let device = self.device.ok_or(io::ErrorKind::NotFound)?;
        if self.vnet {
            return read(device, buffer, wait);
        }
        let Some((head, packet)) = buffer.split_first_chunk_mut::<VNET_LEN>() else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        *head = [0; VNET_LEN];
        Ok(read(device, packet, wait)? + VNET_LEN)
    }

    /// Writes one frame given as vnet header and parts.
    pub fn write<'a>(&self, vnet: &'a [u8; VNET_LEN], parts: impl Iterator<Item = &'a [u8]>) -> Written {
        let mut slices = [IoSlice::new(&[]); MAX_PARTS];
        let mut count = 0;
        let head = self.vnet.then_some(vnet.as_slice());
        for part in head.into_iter().chain(parts) {
            let Some(slot) = slices.get_mut(count) else { return Written::Lost };
            *slot = IoSlice::new(part);
            count += 1;
        }
        let gso = vnet.get(1).is_some_and(|kind| *kind != 0);
        self.write_slices(slices.get(..count).unwrap_or_default(), gso)
    }

    fn write_slices(&self, slices: &[IoSlice<'_>], gso: bool) -> Written {
        let Some(device) = self.device else { return Written::Lost };
        loop {
            match device.send_vectored(slices) {
                Ok(_) => return Written::Whole,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if gso && is_refusal(&e) => return Written::OffloadRefused,
                Err(_) => return Written::Lost,
            }
        }
    }

    /// Writes a whole frame (vnet header and packet in one slice).
    pub fn write_frame(&self, frame: &[u8]) -> Written {
        match frame.split_first_chunk::<VNET_LEN>() {
            Some((vnet, packet)) => self.write(vnet, std::iter::once(packet)),
            None => Written::Lost,
        }
    }
}

/// `RWF_NOWAIT` makes one read not sleep on a device that otherwise may (a TUN has it since Linux 5.8).
fn read(device: &SyncDevice, buffer: &mut [u8], wait: Wait) -> io::Result<usize> {
    match wait {
        Wait::Socket => Ok(rustix::io::read(device, buffer)?),
        Wait::Never => {
            let mut parts = [IoSliceMut::new(buffer)];
            Ok(rustix::io::preadv2(device, &mut parts, NO_OFFSET, ReadWriteFlags::NOWAIT)?)
        }
    }
}

/// EINVAL: the header is not understood; EIO: also given while the interface is down.
fn is_refusal(e: &io::Error) -> bool {
    e.raw_os_error() == Some(Errno::INVAL.raw_os_error())
        || e.raw_os_error() == Some(Errno::IO.raw_os_error())
}

fn build(name: &str, offload: bool, workers: usize) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(name).inherit_enable_state().offload(offload);
    device.multi_queue(workers > 1).build_sync()
}

fn exists(name: &str) -> bool {
    std::path::Path::new("/sys/class/net").join(name).exists()
}

fn open_error(name: &str, e: io::Error) -> TunError {
    match e.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => TunError::Missing(e),
        Some(Errno::PERM | Errno::ACCESS) => TunError::NotAllowed { name: name.to_owned() },
        Some(Errno::BUSY) => TunError::Busy { name: name.to_owned() },
        _ => TunError::Io { name: name.to_owned(), action: "make", source: e },
    }
}

fn check_name(name: &str) -> Result<(), TunError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let fits = (1..=15).contains(&name.len()) && name != "." && name != "..";
    if fits && name.bytes().all(good) {
        return Ok(());
    }
    Err(TunError::Name { name: name.chars().take(40).collect::<String>().escape_debug().to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_paths_or_too_long_are_refused_before_the_kernel_sees_them() {
        for name in ["", "..", "a/b", "warren0123456789", "w 0", "w\0"] {
            assert!(matches!(Tun::open(name, 1420, 1), Err(TunError::Name { .. })), "{name:?}");
        }
    }

    #[test]
    fn each_refusal_of_the_kernel_says_what_to_do() {
        let of = |errno: Errno| open_error("warren0", errno.into()).to_string();
        assert!(of(Errno::NOENT).contains("modprobe tun"));
        assert!(of(Errno::PERM).contains("CAP_NET_ADMIN"));
        assert!(of(Errno::BUSY).contains("--interface"));
    }
}
