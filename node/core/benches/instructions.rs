//! Work for `scripts/bench instructions`, which counts it under callgrind.
//!
//! ```text
//! instructions list                    every operation: NAME SIZE BATCH
//! instructions NAME SIZE BATCH TIMES   does one operation TIMES times (0: only what comes before)
//! ```

#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement fails by panicking")]

mod work;

use std::hint::black_box;

use work::judge::Judge;
use work::offload::{Merge, Split};
use work::session::Pair;
use work::{BATCHES, SIZES, packets};

/// With a size and a batch each; `judge` counts flows where others count packets.
const BATCHED: [&str; 4] = ["split", "merge", "seal", "open"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let number = |text: &String| text.parse().unwrap_or_else(|_| panic!("`{text}` is not a number"));
    match words.as_slice() {
        // As `cargo bench` calls it.
        [] => all().for_each(|(name, size, batch)| work(name, size, batch, 1)),
        [list] if list == "list" => {
            all().for_each(|(name, size, batch)| println!("{name} {size} {batch}"));
        }
        [name, size, batch, times] => work(name, number(size), number(batch), number(times)),
        _ => panic!("instructions list | instructions NAME SIZE BATCH TIMES"),
    }
}

fn all() -> impl Iterator<Item = (&'static str, usize, usize)> {
    let plain = SIZES.into_iter().map(|size| ("classify", size, 1));
    let judge = [1, 64].into_iter().map(|flows| ("judge", 64, flows));
    let sizes =
        |name| SIZES.into_iter().flat_map(move |size| BATCHES.into_iter().map(move |b| (name, size, b)));
    plain.chain(judge).chain(BATCHED.into_iter().flat_map(sizes))
}

fn work(name: &str, size: usize, batch: usize, times: usize) {
    match name {
        "classify" => {
            let packet = packets::segments(1, size).remove(0);
            repeat(times, || packets::read(black_box(&packet)));
        }
        "judge" => {
            let mut judge = Judge::new(batch as u16);
            repeat(times, || judge.once());
        }
        "split" => {
            let mut split = Split::new(batch, size);
            repeat(times, || split.once());
        }
        "merge" => {
            let mut merge = Merge::new(batch, size);
            repeat(times, || merge.once());
        }
        "seal" => {
            let mut pair = Pair::new(batch, size);
            let mut out = pair.buffer();
            repeat(times, || pair.seal(&mut out));
        }
        "open" => open(batch, size, times),
        _ => panic!("no operation is called `{name}`"),
    }
}

/// Sealing is counted with it: the script takes it off again.
fn open(batch: usize, size: usize, times: usize) {
    let mut pair = Pair::new(batch, size);
    let mut out = pair.buffer();
    repeat(times, || {
        pair.seal(&mut out);
        pair.open(&out);
    });
}

fn repeat<T>(times: usize, mut once: impl FnMut() -> T) {
    for _ in 0..times {
        black_box(once());
    }
}
