//! Splitting one frame of the kernel into packets, and merging packets into one frame.

use warren_node_core::packet::merge::{Merger, Offloads};
use warren_node_core::packet::vnet::Vnet;
use warren_node_core::packet::{Packet, classify, split};

use super::packets::{HEADER, read, segments, super_frame};

/// A frame that is split again and again: splitting uses up its first header, so that is put back before.
pub struct Split {
    vnet: Vnet,
    frame: Vec<u8>,
    header: [u8; HEADER],
    count: usize,
}

impl Split {
    pub fn new(count: usize, size: usize) -> Split {
        let (vnet, frame) = super_frame(count, size);
        Split { vnet, header: frame[..HEADER].try_into().unwrap(), frame, count }
    }

    /// Classified, planned and cut; the bytes of all segments together.
    pub fn once(&mut self) -> usize {
        self.frame[..HEADER].copy_from_slice(&self.header);
        let packet = classify(&self.frame).unwrap();
        let (mut count, mut bytes) = (0, 0);
        split::plan(&self.vnet, &packet).unwrap().run(&mut self.frame, |segment| {
            count += 1;
            bytes += segment.len();
        });
        assert_eq!(count, self.count);
        bytes
    }
}

/// Packets in an arena that are merged again and again: merging writes to the first header only.
pub struct Merge {
    merger: Merger,
    arena: Vec<u8>,
    header: [u8; HEADER],
    packets: Vec<(usize, Packet)>,
}

impl Merge {
    pub fn new(count: usize, size: usize) -> Merge {
        let (mut arena, mut packets) = (Vec::new(), Vec::new());
        for segment in segments(count, size) {
            packets.push((arena.len(), read(&segment)));
            arena.extend(segment);
        }
        let header = arena[..HEADER].try_into().unwrap();
        Merge { merger: Merger::new(Offloads { tcp: true, udp: true }), arena, header, packets }
    }

    pub fn once(&mut self) {
        self.arena[..HEADER].copy_from_slice(&self.header);
        for (at, packet) in &self.packets {
            self.merger.push(&mut self.arena, *at, packet);
        }
        let supers = self.merger.finish(&mut self.arena);
        assert_eq!((supers.len(), supers[0].pieces.len()), (1, self.packets.len()));
        self.merger.clear();
    }
}
