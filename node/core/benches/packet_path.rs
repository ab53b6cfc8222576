//! How long the pure parts of the packet path take: `cargo bench -p warren-node-core --bench packet_path`.
//!
//! One call works on a whole batch; "items" are packets, so that batches of all sizes compare.

#![allow(clippy::unwrap_used, reason = "a measurement fails by panicking")]

mod work;

use std::cell::RefCell;

use divan::Bencher;
use divan::counter::ItemsCount;
use work::judge::Judge;
use work::offload::{Merge, Split};
use work::session::Pair;
use work::{BATCHES, SIZES, packets};

fn main() {
    divan::main();
}

#[divan::bench(args = SIZES)]
fn classify(bencher: Bencher<'_, '_>, size: usize) {
    let packet = packets::segments(1, size).remove(0);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| packets::read(divan::black_box(&packet)));
}

#[divan::bench(args = [1, 64])]
fn judge(bencher: Bencher<'_, '_>, flows: u16) {
    let mut judge = Judge::new(flows);
    bencher.counter(ItemsCount::new(1usize)).bench_local(|| judge.once());
}

#[divan::bench(args = BATCHES, consts = SIZES)]
fn split<const SIZE: usize>(bencher: Bencher<'_, '_>, batch: usize) {
    let mut split = Split::new(batch, SIZE);
    bencher.counter(ItemsCount::new(batch)).bench_local(|| split.once());
}

#[divan::bench(args = BATCHES, consts = SIZES)]
fn merge<const SIZE: usize>(bencher: Bencher<'_, '_>, batch: usize) {
    let mut merge = Merge::new(batch, SIZE);
    bencher.counter(ItemsCount::new(batch)).bench_local(|| merge.once());
}

#[divan::bench(args = BATCHES, consts = SIZES)]
fn seal<const SIZE: usize>(bencher: Bencher<'_, '_>, batch: usize) {
    let mut pair = Pair::new(batch, SIZE);
    let mut out = pair.buffer();
    bencher.counter(ItemsCount::new(batch)).bench_local(|| pair.seal(&mut out));
}

/// What is opened was sealed before, outside the measured time.
#[divan::bench(args = BATCHES, consts = SIZES)]
fn open<const SIZE: usize>(bencher: Bencher<'_, '_>, batch: usize) {
    let pair = RefCell::new(Pair::new(batch, SIZE));
    let sealed = || {
        let mut out = pair.borrow().buffer();
        pair.borrow_mut().seal(&mut out);
        out
    };
    bencher
        .with_inputs(sealed)
        .input_counter(move |_| ItemsCount::new(batch))
        .bench_local_values(|datagrams| pair.borrow_mut().open(&datagrams));
}
