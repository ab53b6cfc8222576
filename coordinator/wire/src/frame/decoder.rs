//! Frames off a byte stream, and onto one.

use super::{FrameError, MAX_FRAME_STRANGER};

/// Bytes of the length in front of each body.
const LENGTH: usize = 4;

/// Takes frames off a byte stream. Never holds more than one frame of the current limit, beyond the bytes that were
/// just pushed: after each [`Decoder::push`], call [`Decoder::next`] until it has no more.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the first unread frame begins.
    start: usize,
    limit: usize,
    /// Once a frame was refused, nothing after it can be found.
    broken: Option<FrameError>,
}

impl Decoder {
    pub fn new(limit: usize) -> Decoder {
        Decoder { buffer: Vec::new(), start: 0, limit, broken: None }
    }

    /// Raised once, when the peer is authorised.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Bytes held now.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.start
    }

    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_some() {
            return;
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
        // A length over the limit is refused now, so that its body is never gathered.
        if let Err(error) = self.pending_length() {
            self.break_off(error);
        }
    }

    /// The next whole message, `None` if more bytes are needed. An error ends the stream.
    #[allow(clippy::should_implement_trait, reason = "the type of the message is the caller's choice")]
    pub fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        self.take_frame().inspect_err(|error| self.break_off(error.clone()))
    }

    fn take_frame<M: prost::Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(length) = self.pending_length()? else { return Ok(None) };
        let body = self.buffer.get(self.start + LENGTH..).and_then(|rest| rest.get(..length));
        let Some(body) = body else { return Ok(None) };
        let message = M::decode(body).map_err(|e| FrameError::Unreadable(e.to_string()))?;
        self.start += LENGTH + length;
        self.shrink();
        Ok(Some(message))
    }

    /// Length of the frame at `start`, once its four bytes are there.
    fn pending_length(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.buffer.get(self.start..).and_then(|rest| rest.first_chunk::<LENGTH>()) else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        match bytes {
            0 => Err(FrameError::Empty),
            _ if bytes > self.limit => Err(FrameError::TooLarge { bytes, limit: self.limit }),
            _ => Ok(Some(bytes)),
        }
    }

    /// A large frame's room is given back when everything is read.
    fn shrink(&mut self) {
        if self.start == self.buffer.len() {
            self.buffer.clear();
            self.start = 0;
            self.buffer.shrink_to(MAX_FRAME_STRANGER);
        }
    }

    fn break_off(&mut self, error: FrameError) {
        self.broken = Some(error);
        self.buffer = Vec::new();
        self.start = 0;
    }
}

/// Length and body, ready for the stream.
pub fn encode<M: prost::Message>(message: &M) -> Vec<u8> {
    let body = message.encoded_len();
    let mut frame = Vec::with_capacity(LENGTH + body);
    // A body over 4 GiB cannot be made; if it were, the other side refuses this length.
    frame.extend_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes());
    message.encode_raw(&mut frame);
    frame
}
