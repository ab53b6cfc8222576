//! The little of XML that gateways speak: elements and their text. No document type, no entities but the five that every reader knows, and not deeper than
//! [`DEEPEST`]; so an answer takes no more memory than its own length, and time that grows with it alone.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, Event};

use super::fault::Fault;

/// A description has eight levels down to a service's fields.
pub const DEEPEST: usize = 24;

/// Tells of every element when it has ended: its name without prefix, and its own text.
pub fn walk(bytes: &[u8], mut ended: impl FnMut(&str, &str)) -> Result<(), Fault> {
    let text = std::str::from_utf8(bytes).map_err(|_| Fault::NotXml)?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
    let (mut open, mut elements) = (Vec::<String>::new(), 0);
    loop {
        match reader.read_event().map_err(|_| Fault::NotXml)? {
            Event::Start(_) if open.len() >= DEEPEST => return Err(Fault::TooDeep),
            Event::Start(_) => open.push(String::new()),
            Event::Empty(element) => {
                elements += 1;
                ended(element.local_name().into_inner(), "");
            }
            Event::End(element) => {
                elements += 1;
                let own = open.pop().ok_or(Fault::NotXml)?;
                ended(element.local_name().into_inner(), own.trim());
            }
            Event::Text(text) => add(&mut open, &text.xml10_content()),
            Event::CData(text) => add(&mut open, &text.xml10_content()),
            Event::GeneralRef(reference) => add(&mut open, resolved(&reference)?.as_str()),
            Event::DocType(_) => return Err(Fault::Doctype),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof if open.is_empty() && elements > 0 => return Ok(()),
            Event::Eof => return Err(Fault::NotXml),
        }
    }
}

fn add(open: &mut [String], text: &str) {
    if let Some(own) = open.last_mut() {
        own.push_str(text);
    }
}

fn resolved(reference: &BytesRef<'_>) -> Result<String, Fault> {
    if let Some(letter) = reference.resolve_char_ref().map_err(|_| Fault::NotXml)? {
        return Ok(letter.to_string());
    }
    resolve_predefined_entity(&reference.xml10_content()).map(str::to_owned).ok_or(Fault::NotXml)
}
