//! Big-endian fields at an offset: reading out of range is `Truncated`, writing out of range does nothing.

use super::DropReason;

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Result<&[u8; N], DropReason> {
    bytes.get(at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(DropReason::Truncated)
}

pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], DropReason> {
    chunk(bytes, at).copied()
}

pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Result<u8, DropReason> {
    bytes.get(at).copied().ok_or(DropReason::Truncated)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, DropReason> {
    chunk(bytes, at).map(|field| u16::from_be_bytes(*field))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, DropReason> {
    chunk(bytes, at).map(|field| u32::from_be_bytes(*field))
}

pub(crate) fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(field) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<N>()) {
        *field = value;
    }
}

pub(crate) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    put(bytes, at, value.to_be_bytes());
}

pub(crate) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, value.to_be_bytes());
}
