//! What the fuzzer tries with bytes of strangers. `config/fuzz` runs these with invented bytes, `tests/corpus.rs` with
//! the kept ones.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "shared with the fuzzer's own workspace")]

use warren_config::item::{InclusionProof, Item, ItemTree, Root, verify};
use warren_config::layout::format;
use warren_config::resolve::{Source, render, resolve};

/// A policy file: read or refused; a second layout changes nothing, and the first no meaning.
pub fn document(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = |text: &str| [Source { file: "f.toml".to_owned(), text: text.to_owned() }];
    let read = resolve(&source(text));
    if let Err(faults) = &read {
        assert!(!faults.findings.is_empty());
        render(&faults.findings, &source(text), true);
    }
    let [file] = source(text);
    let Ok(laid_out) = format(&file) else { return };
    let [again] = source(&laid_out);
    assert_eq!(format(&again).unwrap(), laid_out);
    let root = |read: Result<warren_config::resolve::Resolved, _>| {
        read.ok().map(|r| ItemTree::new(&r.policy).root())
    };
    assert_eq!(root(resolve(&[again])), root(read));
}

/// A signed item with its proof. What is read was written by somebody who writes canonically.
pub fn items(bytes: &[u8]) {
    if let Ok(item) = Item::decode(bytes) {
        assert_eq!(item.encode(), bytes);
    }
    let Some((root, rest)) = bytes.split_first_chunk::<32>() else { return };
    let Some((numbers, rest)) = rest.split_first_chunk::<3>() else { return };
    let [index, count, path] = numbers.map(u64::from);
    let at = rest.len().min(usize::try_from(path).unwrap() * 32);
    let (path, item) = rest.split_at(at);
    let proof = InclusionProof { index, path: path.to_vec() };
    if let Ok(read) = verify(Root(*root), count, item, &proof) {
        assert_eq!(read.encode(), item);
    }
}
