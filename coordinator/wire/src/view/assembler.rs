//! Putting the frames of a delta together again.

use prost::Message as _;

use super::{Change, Delta, View, ViewError};
use crate::id::Revision;
use crate::signed::Signed;
use crate::statement::ViewHead;

/// A delta may have so many bytes over all its frames.
pub const MAX_DELTA_BYTES: usize = 64 * 1024 * 1024;

/// Takes [`Delta`] frames in the order of the stream. Nothing reaches the view the node holds before the frame with
/// the head has come, and then only through the caller, who checks the head's signature and the digest.
///
/// After an error the frames of that delta are forgotten; the caller reports it and begins a new session, because
/// what follows on this stream may build on what was lost.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    base: Option<Revision>,
    change: Change,
    bytes: usize,
}

/// A whole view, not yet believed: open `head` with [`crate::trust::Trust::view_head`], then ask [`Assembled::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assembled {
    pub view: View,
    pub head: Signed,
    /// True if the delta replaced everything the node held.
    pub whole: bool,
}

impl Assembled {
    /// Compares the digest with that of the (already verified) head.
    pub fn check(&self, head: &ViewHead) -> Result<(), ViewError> {
        if self.view.digest().0.as_slice() == head.digest { Ok(()) } else { Err(ViewError::WrongDigest) }
    }
}

impl Assembler {
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// Takes one frame. `held` is the view this node holds and its revision; a delta that builds on another revision
    /// is refused. `None` as long as the head has not come.
    pub fn push(
        &mut self,
        held: Option<(Revision, &View)>,
        delta: Delta,
    ) -> Result<Option<Assembled>, ViewError> {
        let mut pending = match self.pending.take() {
            Some(pending) => pending,
            None => Pending::begin(held, delta.base_revision)?,
        };
        let head = pending.add(delta)?;
        let Some(head) = head else {
            self.pending = Some(pending);
            return Ok(None);
        };
        pending.finish(held, head).map(Some)
    }

    /// True between the first frame of a delta and its head.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }
}

fn check_base(held: Option<(Revision, &View)>, base: Option<Revision>) -> Result<(), ViewError> {
    let has = held.map(|(has, _)| has);
    match base {
        Some(needs) if has != Some(needs) => Err(ViewError::WrongBase { needs, has: has.unwrap_or(0) }),
        _ => Ok(()),
    }
}

impl Pending {
    fn begin(held: Option<(Revision, &View)>, base: Option<Revision>) -> Result<Pending, ViewError> {
        check_base(held, base)?;
        Ok(Pending { base, change: Change::default(), bytes: 0 })
    }

    fn add(&mut self, delta: Delta) -> Result<Option<Signed>, ViewError> {
        if delta.base_revision != self.base {
            return Err(ViewError::Malformed("the frames of one delta build on different revisions"));
        }
        self.bytes = self.bytes.saturating_add(delta.encoded_len());
        if self.bytes > MAX_DELTA_BYTES {
            return Err(ViewError::TooLarge { what: "bytes", limit: MAX_DELTA_BYTES });
        }
        self.change.add(delta.put, &delta.remove)?;
        Ok(delta.head)
    }

    fn finish(self, held: Option<(Revision, &View)>, head: Signed) -> Result<Assembled, ViewError> {
        // Asked again: the held view may have been replaced while frames came.
        check_base(held, self.base)?;
        let mut view = match (self.base, held) {
            (Some(_), Some((_, view))) => view.clone(),
            _ => View::default(),
        };
        view.apply_change(self.change)?;
        Ok(Assembled { view, head, whole: self.base.is_none() })
    }
}
