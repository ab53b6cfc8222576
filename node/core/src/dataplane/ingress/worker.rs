//! What one ingress thread owns: opened packets, open super-packets, answers to send.

use std::net::SocketAddr;
use std::ops::Range;

use super::super::relayed::PathWord;
use super::super::{Outbox, Rest, Settings, VNET_LEN};
use crate::clock::Now;
use crate::ledger::Ledger;
use crate::packet::merge::{Merger, Offloads};
use crate::packet::{DropReason, Packet, Tuple};
use crate::session::{Arena, buffer_for};

/// Plaintexts of one receive buffer, with room for the ciphertext of one more.
const ARENA: usize = 256 * 1024;
/// Inner packets in one call.
const MAX_OPENED: usize = 2048;
/// Messages set aside in one call.
const MAX_ASIDE: usize = 64;

/// One write to the TUN: `writev` of the header and the parts in order.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    pub vnet: &'a [u8; VNET_LEN],
    arena: &'a [u8],
    pieces: &'a [Range<usize>],
}

impl<'a> Frame<'a> {
    pub fn parts(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let arena = self.arena;
        self.pieces.iter().map(move |r| arena.get(r.clone()).unwrap_or_default())
    }
}

/// State of one ingress thread. Allocated once.
#[derive(Debug)]
pub struct IngressWorker {
    /// Handshake answers, cookies and packets that waited for a handshake.
    pub out: Outbox,
    pub(super) plain: Plain,
    pub(super) merger: Merger,
    /// What the TUN said that it takes, and until when it is not given that, because it refused it all the same.
    offloads: Offloads,
    rests: Option<(Rest, Rest)>,
    pub(super) data_only: bool,
    aside: Vec<(SocketAddr, Vec<u8>)>,
    /// Where what it judges is counted.
    pub(super) cell: usize,
}

impl IngressWorker {
    /// A worker for every kind of message.
    pub fn new(settings: &Settings) -> IngressWorker {
        let offloads = Offloads { tcp: settings.tso, udp: settings.uso };
        IngressWorker {
            out: Outbox::new(),
            plain: Plain::new(),
            merger: Merger::new(offloads),
            offloads,
            rests: None,
            data_only: false,
            aside: Vec::new(),
            cell: 0,
        }
    }
    /// A worker that opens data and sets everything else aside: a handshake costs as much as two hundred packets.
    pub fn for_data(settings: &Settings, number: usize) -> IngressWorker {
        let cell = Ledger::cell_of(number, true);
        IngressWorker { data_only: true, cell, ..IngressWorker::new(settings) }
    }
    /// Messages for another worker, with their sources, since [`IngressWorker::sent`].
    pub fn aside(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.aside.iter().map(|(from, message)| (*from, message.as_slice()))
    }
    /// False when there are too many.
    pub(super) fn set_aside(&mut self, from: SocketAddr, message: &[u8]) -> bool {
        let room = self.aside.len() < MAX_ASIDE;
        if room {
            self.aside.push((from, message.to_vec()));
        }
        room
    }
    /// Frames for the TUN, in order. Closes the open super-packets: call it once before [`IngressWorker::sent`].
    pub fn frames(&mut self) -> impl Iterator<Item = Frame<'_>> {
        let supers = self.merger.finish(&mut self.plain.bytes);
        let arena = self.plain.bytes.as_slice();
        supers.iter().map(move |s| Frame { vnet: &s.vnet, arena, pieces: &s.pieces })
    }
    /// The TUN refused an offload (EINVAL, or EIO while it is down): it rests, then it is tried again.
    pub fn degrade(&mut self, tso: bool, uso: bool, now: Now) {
        let (tcp, udp) = self.rests.get_or_insert_default();
        for (refused, rest) in [(tso, tcp), (uso, udp)] {
            if refused {
                rest.begin(now.mono);
            }
        }
    }
    /// Before a batch: merges what may be merged now.
    pub(super) fn prepare(&mut self, now: Now) {
        if let Some((tcp, udp)) = &self.rests {
            let tcp = self.offloads.tcp && tcp.is_over(now.mono);
            let udp = self.offloads.udp && udp.is_over(now.mono);
            self.merger.set_offloads(Offloads { tcp, udp });
        }
    }
    /// Everything was written and sent.
    pub fn sent(&mut self) {
        self.out.flush();
        self.out.sent();
        self.merger.clear();
        self.plain.clear();
        self.aside.clear();
    }
}

/// Opened packets, one behind the other.
#[derive(Debug)]
pub(super) struct Plain {
    pub bytes: Vec<u8>,
    end: usize,
    pub opened: Vec<Range<usize>>,
    pub read: Vec<(usize, Packet)>,
    /// Those that no judge needs to see.
    pub refused: Vec<(DropReason, Option<Tuple>)>,
    /// What the peer said about paths.
    pub words: Vec<PathWord>,
    /// Ranges of `read` that may pass.
    pub passed: Vec<Range<usize>>,
}

impl Plain {
    fn new() -> Plain {
        Plain {
            bytes: vec![0; ARENA],
            end: 0,
            opened: Vec::with_capacity(MAX_OPENED),
            read: Vec::with_capacity(MAX_OPENED),
            refused: Vec::new(),
            words: Vec::new(),
            passed: Vec::with_capacity(MAX_OPENED),
        }
    }
    fn clear(&mut self) {
        self.end = 0;
        self.opened.clear();
        self.read.clear();
    }
}

impl Arena for Plain {
    fn room(&mut self, need: usize) -> Option<&mut [u8]> {
        if self.opened.len() >= MAX_OPENED {
            return None;
        }
        let spare = self.bytes.get_mut(self.end..)?;
        (spare.len() >= need).then_some(spare)
    }
    fn opened(&mut self, len: usize) {
        let range = self.end..self.end.saturating_add(len);
        self.end = range.end;
        self.opened.push(range);
    }
}

const _: () = assert!(ARENA > 2 * buffer_for(65_535));
