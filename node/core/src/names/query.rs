//! One question as it comes from a socket (RFC 1035 section 4, RFC 6891), read by hand because every datagram of a flood
//! goes through here; the tests compare it with the library that reads everything else.
//!
//! Bounded by the message itself: each byte is looked at once, a question has no compression pointers.

/// Header, in bytes.
pub const HEADER: usize = 12;
/// Longest name, with its final zero (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;
/// More records than a query has any use for.
const MAX_ADDITIONAL: u16 = 8;
const OPT: u16 = 41;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub id: u16,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    pub authentic_data: bool,
    /// Name, type and class as they were asked, letters in their case: echoed as they are.
    pub question: Vec<u8>,
    /// Presentation form in lower case, without the final dot; bytes that are not graphic ASCII as `\ddd`.
    pub name: String,
    pub kind: u16,
    pub class: u16,
    pub edns: Option<Edns>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Largest answer the sender can take over UDP.
    pub size: u16,
    pub version: u8,
    pub dnssec_ok: bool,
}

/// Why there is no question to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// Not a query at all, or an answer (RFC 1035 section 7.3: answers to answers make loops): silence.
    Silence,
    /// Say so: with this id and these flags.
    Code { id: u16, flags: u16, code: u8 },
}

pub const FORMERR: u8 = 1;
pub const NOTIMP: u8 = 4;

impl Query {
    pub fn read(bytes: &[u8]) -> Result<Query, Unanswerable> {
        let words = bytes.get(..HEADER).ok_or(Unanswerable::Silence)?;
        let word = |i: usize| words.get(2 * i..2 * i + 2).map_or(0, |w| u16::from_be_bytes([w[0], w[1]]));
        let (id, flags) = (word(0), word(1));
        if flags & 0x8000 != 0 {
            return Err(Unanswerable::Silence);
        }
        let fail = |code| Unanswerable::Code { id, flags, code };
        if flags & 0x7800 != 0 {
            return Err(fail(NOTIMP));
        }
        let counts = (word(2), word(3), word(4), word(5));
        if counts.0 != 1 || counts.1 != 0 || counts.2 != 0 || counts.3 > MAX_ADDITIONAL {
            return Err(fail(FORMERR));
        }
        let mut reader = Reader { bytes, at: HEADER };
        let name = reader.name().ok_or(fail(FORMERR))?;
        let (kind, class) = reader.two_words().ok_or(fail(FORMERR))?;
        let question = bytes.get(HEADER..reader.at).unwrap_or_default().to_vec();
        let edns = reader.additional(counts.3).map_err(|()| fail(FORMERR))?;
        Ok(Query {
            id,
            recursion_desired: flags & 0x0100 != 0,
            checking_disabled: flags & 0x0010 != 0,
            authentic_data: flags & 0x0020 != 0,
            question,
            name,
            kind,
            class,
            edns,
        })
    }

    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(part)
    }

    fn word(&mut self) -> Option<u16> {
        self.take(2).map(|w| u16::from_be_bytes([w[0], w[1]]))
    }

    fn two_words(&mut self) -> Option<(u16, u16)> {
        Some((self.word()?, self.word()?))
    }

    fn name(&mut self) -> Option<String> {
        let (start, mut text) = (self.at, String::with_capacity(64));
        loop {
            let length = usize::from(*self.take(1)?.first()?);
            if length == 0 {
                break;
            }
            // 0xc0 would be a pointer, the other two are reserved.
            let label = self.take(length).filter(|_| length <= 63)?;
            if self.at - start >= MAX_NAME {
                return None;
            }
            if !text.is_empty() {
                text.push('.');
            }
            label.iter().for_each(|byte| push(&mut text, *byte));
        }
        Some(text)
    }

    /// The one OPT record, if there is any; other records are stepped over.
    fn additional(&mut self, count: u16) -> Result<Option<Edns>, ()> {
        let mut edns = None;
        for _ in 0..count {
            let root = self.bytes.get(self.at) == Some(&0);
            self.owner().ok_or(())?;
            let (kind, class) = self.two_words().ok_or(())?;
            let (high, low) = self.two_words().ok_or(())?;
            let length = self.word().ok_or(())?;
            let options = self.take(usize::from(length)).ok_or(())?;
            if kind != OPT {
                continue;
            }
            if edns.is_some() || !root || !options_fit(options) {
                return Err(());
            }
            let version = (high & 0xff) as u8;
            edns = Some(Edns { size: class, version, dnssec_ok: low & 0x8000 != 0 });
        }
        Ok(edns)
    }

    /// Over an owner name, which may end in a pointer.
    fn owner(&mut self) -> Option<()> {
        let start = self.at;
        loop {
            let length = *self.take(1)?.first()?;
            match length {
                0 => return Some(()),
                1..=63 => self.take(usize::from(length)).map(drop)?,
                0xc0.. => return self.take(1).map(drop),
                _ => return None,
            }
            if self.at - start > MAX_NAME {
                return None;
            }
        }
    }
}

/// Do the options fill the record exactly (RFC 6891 section 6.1.2)?
fn options_fit(mut rest: &[u8]) -> bool {
    while let [_, _, high, low, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(after) = more.get(length..) else { return false };
        rest = after;
    }
    rest.is_empty()
}

fn push(text: &mut String, byte: u8) {
    match byte {
        b'.' | b'\\' => {
            text.push('\\');
            text.push(char::from(byte));
        }
        0x21..=0x7e => text.push(char::from(byte.to_ascii_lowercase())),
        _ => {
            text.push('\\');
            [byte / 100, byte / 10 % 10, byte % 10].iter().for_each(|d| text.push(char::from(b'0' + d)));
        }
    }
}
