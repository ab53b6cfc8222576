//! What agents and relays tell a scraper on their own host: where it may ask ([`Place`]), the door it asks at ([`serve()`]) and the
//! sheet it is given ([`Sheet`], in the OpenMetrics text format, version 1.0.0), which the coordinator's API gives, too.

mod place;
mod serve;
mod sheet;
mod socket;

pub use place::Place;
pub use serve::{Scraped, serve};
pub use sheet::{CONTENT_TYPE, Labels, Sheet};
pub use socket::listen;
