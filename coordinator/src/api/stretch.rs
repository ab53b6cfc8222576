//! A stretch of time that is asked about, and the steps in which it is answered.

use warren_config::time::UnixTime;
use warren_coordinator_core::map::RESOLUTIONS;

use super::App;
use super::extract::{blocking, internal};
use super::problem::{Kind, Problem};
use crate::clock;
use crate::store::edges::{EdgeStore, floor};
use crate::store::reach::Reach;

/// The longest stretch of time that can be asked about: a year.
pub const MAX_WINDOW: u64 = 366 * 24 * 3600;

/// As it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: UnixTime,
    until: UnixTime,
    resolution: Option<u64>,
}

/// As it is answered: whole steps, of which those from `complete_from` on are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub from: UnixTime,
    pub until: UnixTime,
    pub resolution: u64,
    pub complete_from: UnixTime,
    pub recorded_since: Option<UnixTime>,
}

/// How far back one may ask.
pub fn back(within: u64) -> Result<(), Problem> {
    match (1..=MAX_WINDOW).contains(&within) {
        true => Ok(()),
        false => Err(Problem::new(
            Kind::BadRequest,
            format!("`within` is {within}: it is between 1 and {MAX_WINDOW} seconds, a year"),
        )),
    }
}

impl Span {
    /// `end`: the parameter that says where it ends.
    pub fn new(
        end: &str,
        until: u64,
        window: u64,
        resolution: Option<u64>,
        now: UnixTime,
    ) -> Result<Span, Problem> {
        let bad = |detail: String| Err(Problem::new(Kind::BadRequest, detail));
        if until > now.0 + 1 {
            return bad(format!(
                "`{end}` is {until}, in the future: a time is in seconds since 1970 and at most {}",
                now.0
            ));
        }
        if !(1..=MAX_WINDOW).contains(&window) {
            return bad(format!(
                "`window` (up to `{end}`) is {window} s: it is between 1 and {MAX_WINDOW} s, a year"
            ));
        }
        if let Some(resolution) = resolution.filter(|step| !RESOLUTIONS.contains(step)) {
            return bad(format!("`resolution` is {resolution}: it is 1, 60 or 3600"));
        }
        Ok(Span { from: UnixTime(until.saturating_sub(window)), until: UnixTime(until), resolution })
    }
}

impl Stretch {
    /// A step that is asked for is taken, whether it is kept or not: `complete_from` says so.
    pub fn of(span: Span, reach: &Reach) -> Stretch {
        let resolution = span.resolution.unwrap_or_else(|| reach.resolution(span.from, span.until));
        let from = floor(span.from, resolution);
        Stretch {
            from,
            // A step that has begun belongs to the stretch.
            until: UnixTime(span.until.0.div_ceil(resolution).saturating_mul(resolution)),
            resolution,
            complete_from: from.max(reach.since(resolution)),
            recorded_since: reach.recorded_since,
        }
    }
}

/// What is read of the sums in a stretch of time; nothing, if there are none yet.
pub async fn read<T: Default + Send + 'static>(
    app: &App,
    span: Span,
    look: impl FnOnce(&EdgeStore, &Stretch) -> rusqlite::Result<T> + Send + 'static,
) -> Result<(Stretch, T), Problem> {
    let (path, keep) = (app.state.edges(), app.keep);
    blocking(move || {
        let now = clock::now();
        if !path.exists() {
            return Ok((Stretch::of(span, &Reach::of(keep, now)), T::default()));
        }
        let store = EdgeStore::reader(&path).map_err(internal)?;
        let stretch = Stretch::of(span, &store.reach(keep, now).map_err(internal)?);
        let found = look(&store, &stretch).map_err(internal)?;
        Ok((stretch, found))
    })
    .await
}

#[cfg(test)]
mod tests {
    use crate::store::edges::EdgeRetention;

    use super::*;

    const NOW: UnixTime = UnixTime(10_000_000);

    fn answered(back: u64, window: u64, resolution: Option<u64>) -> Stretch {
        let span = Span::new("at", NOW.0 - back, window, resolution, NOW);
        Stretch::of(span.expect("a stretch"), &Reach::of(EdgeRetention::default(), NOW))
    }

    #[test]
    fn a_stretch_is_widened_to_whole_steps_and_says_from_where_on_it_is_whole() {
        let live = answered(0, 300, None);
        assert_eq!((live.resolution, live.from.0, live.complete_from), (1, NOW.0 - 300, live.from));
        let yesterday = answered(24 * 3600 + 7, 300, None);
        assert_eq!((yesterday.resolution, yesterday.complete_from), (60, yesterday.from));
        assert_eq!((yesterday.from.0 % 60, yesterday.until.0 % 60), (0, 0));
        assert!(yesterday.from.0 <= NOW.0 - 24 * 3600 - 307 && yesterday.until.0 >= NOW.0 - 24 * 3600 - 7);
        let gone = answered(40 * 24 * 3600, 300, None);
        assert_eq!(
            (gone.resolution, gone.complete_from),
            (3600, UnixTime(NOW.0 - 30 * 24 * 3600 - NOW.0 % 3600))
        );
        assert!(gone.complete_from > gone.until, "nothing of it is kept");
        // Who asks for a step that is gone is told, and not given another.
        let seconds = answered(24 * 3600, 300, Some(1));
        assert_eq!((seconds.resolution, seconds.complete_from.0), (1, NOW.0 - 3600));
    }
}
