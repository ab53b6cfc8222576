//! One answer while it is made.

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What a scrape is answered with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub type Labels = Vec<(&'static str, String)>;

/// Measures under one prefix. Counters get their `_total`, and units their names, from the encoder.
pub struct Sheet(Registry);

impl Sheet {
    pub fn new(prefix: &str) -> Sheet {
        Sheet(Registry::with_prefix(prefix))
    }

    pub fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.0)?;
        Ok(text)
    }

    pub fn build(&mut self, version: &'static str) {
        self.0.register("build", "Version of this program", Info::new([("version", version)]));
    }

    pub fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.0.register(name, help, gauge(value));
    }

    /// A moment since 1970, or a time.
    pub fn seconds(&mut self, name: &str, help: &str, value: u64) {
        self.0.register_with_unit(name, help, Unit::Seconds, gauge(value));
    }

    pub fn gauges(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        let family = Family::<Labels, Gauge>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(signed(value));
        }
        self.0.register(name, help, family);
    }

    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(value);
        self.0.register(name, help, counter);
    }

    pub fn counters(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        self.0.register(name, help, family(values));
    }

    pub fn bytes(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (Labels, u64)>) {
        self.0.register_with_unit(name, help, Unit::Bytes, family(values));
    }
}

fn family(values: impl IntoIterator<Item = (Labels, u64)>) -> Family<Labels, Counter> {
    let family = Family::<Labels, Counter>::default();
    for (labels, value) in values {
        family.get_or_create(&labels).inc_by(value);
    }
    family
}

fn gauge(value: u64) -> Gauge {
    let gauge = Gauge::default();
    gauge.set(signed(value));
    gauge
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
