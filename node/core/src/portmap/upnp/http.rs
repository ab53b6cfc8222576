//! One question and one answer of HTTP/1.1 (RFC 9112), each on a connection of its own. An answer that leads elsewhere is not followed.

use std::net::Ipv4Addr;

use super::fault::Fault;
use super::place::Place;

/// Of an answer, head and all.
pub const LONGEST: usize = 65_536;
const LONGEST_HEAD: usize = 8_192;
const MAX_HEADERS: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

pub fn get(place: &Place, gateway: Ipv4Addr) -> Vec<u8> {
    let (path, host) = (place.path(), place.at(gateway));
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// A call of SOAP 1.1: `action` is what stands in its header of that name.
pub fn post(place: &Place, gateway: Ipv4Addr, action: &str, body: &str) -> Vec<u8> {
    let (path, host, length) = (place.path(), place.at(gateway), body.len());
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: text/xml; charset=\"utf-8\"\r\n\
         SOAPAction: \"{action}\"\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// How the length of a body is told (RFC 9112 section 6.3).
enum Body {
    Chunked,
    Length(usize),
    UntilEnd,
}

/// `bytes` is everything that came so far, `ended` that no more will. `None`: wait for more.
pub fn read(bytes: &[u8], ended: bool) -> Result<Option<Response>, Fault> {
    if bytes.len() > LONGEST {
        return Err(Fault::TooLong);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if !ended && bytes.len() < LONGEST_HEAD => return Ok(None),
        _ => return Err(Fault::NotHttp),
    };
    let status = head.code.unwrap_or_default();
    match status {
        300..400 => return Err(Fault::Elsewhere),
        // The second carries what a call of SOAP is refused with.
        200 | 500 => {}
        _ => return Err(Fault::Status),
    }
    let rest = bytes.get(length..).unwrap_or_default();
    let body = match told_length(head.headers)? {
        Body::Length(length) => rest.get(..length).map(<[u8]>::to_vec),
        Body::UntilEnd => ended.then(|| rest.to_vec()),
        // Looked through only where it may be whole, so that a slow sender costs no more than a quick one.
        Body::Chunked if ended || rest.ends_with(b"\r\n\r\n") => unchunked(rest)?,
        Body::Chunked => None,
    };
    match body {
        Some(body) => Ok(Some(Response { status, body })),
        None if ended => Err(Fault::NotHttp),
        None => Ok(None),
    }
}

fn told_length(headers: &[httparse::Header<'_>]) -> Result<Body, Fault> {
    let all = |name: &'static str| {
        let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| std::str::from_utf8(header.value).unwrap_or_default().trim())
    };
    if let Some(coding) = all("Transfer-Encoding").next() {
        return coding.eq_ignore_ascii_case("chunked").then_some(Body::Chunked).ok_or(Fault::NotHttp);
    }
    let mut lengths = all("Content-Length");
    let Some(first) = lengths.next() else { return Ok(Body::UntilEnd) };
    if lengths.any(|other| other != first) {
        return Err(Fault::NotHttp);
    }
    let length = first.parse::<u64>().map_err(|_| Fault::NotHttp)?;
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST);
    length.map(Body::Length).ok_or(Fault::TooLong)
}

/// RFC 9112 section 7.1; what follows the last chunk is not looked at. `None` if the last one has not come.
fn unchunked(mut rest: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let mut body = Vec::new();
    loop {
        let (at, size) = match httparse::parse_chunk_size(rest) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Fault::NotHttp),
        };
        if size == 0 {
            return Ok(Some(body));
        }
        let size = usize::try_from(size).ok().filter(|size| *size <= LONGEST).ok_or(Fault::TooLong)?;
        let Some(chunk) = rest.get(at..at + size) else { return Ok(None) };
        body.extend_from_slice(chunk);
        rest = match rest.get(at + size..) {
            Some([b'\r', b'\n', rest @ ..]) => rest,
            Some(short) if short.len() < 2 => return Ok(None),
            _ => return Err(Fault::NotHttp),
        };
    }
}
