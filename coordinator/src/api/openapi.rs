//! The description of the API (OpenAPI 3.1), read off the handlers' own types: what a handler takes and gives is what is
//! described, so the two cannot differ.
//!
//! A handler is a function of parts (a proof, a query, a body); each part says what it adds to the description.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Map, Value, json};
use utoipa::openapi::path::ParameterIn;
use utoipa::{IntoParams, PartialSchema, ToSchema};
use warren_coordinator_core::access::Scope;

use super::caller::{Admin, Operator, Reader};
use super::extract::{Asked, Given, Named, Reply};
use super::problem::{Document, Problem};
use super::web::door::{COOKIE, CSRF};
use super::web::listen::Remote;
use super::web::{Needs, PUBLIC, Public};
use super::{App, ROUTES, Route};

/// One operation while it is described.
#[derive(Default)]
pub struct Draft {
    parameters: Vec<Value>,
    body: Option<Value>,
    answer: Option<(&'static str, Value)>,
    scope: Option<Scope>,
    schemas: BTreeMap<String, Value>,
}

impl Draft {
    pub(super) fn reads_a_query(&self) -> bool {
        !self.parameters.is_empty()
    }

    /// What the handler gives cannot be seen from its type.
    pub(super) fn gives<T: ToSchema>(mut self) -> Draft {
        self.answer = Some(("application/json", self.learn::<T>()));
        self
    }
    pub(super) fn gives_nothing(mut self) -> Draft {
        self.answer = None;
        self
    }

    fn learn<T: ToSchema>(&mut self) -> Value {
        let mut found = Vec::new();
        T::schemas(&mut found);
        let all =
            found.into_iter().map(|(name, schema)| (name, serde_json::to_value(schema).unwrap_or_default()));
        self.schemas.extend(all);
        serde_json::to_value(T::schema()).unwrap_or_default()
    }
}

/// What a handler takes.
pub trait Part {
    fn describe(draft: &mut Draft);
}

macro_rules! proofs {
    ($($name:ident,)*) => {$(
        impl Part for $name {
            fn describe(draft: &mut Draft) {
                draft.scope = Some($name::SCOPE);
            }
        }
    )*};
}
proofs! { Reader, Operator, Admin, }

impl Part for State<App> {
    fn describe(_: &mut Draft) {}
}
impl Part for HeaderMap {
    fn describe(_: &mut Draft) {}
}
impl Part for ConnectInfo<Remote> {
    fn describe(_: &mut Draft) {}
}
/// Named in the path itself.
impl Part for Named {
    fn describe(_: &mut Draft) {}
}
impl<T: IntoParams> Part for Asked<T> {
    fn describe(draft: &mut Draft) {
        let parameters = T::into_params(|| Some(ParameterIn::Query));
        draft.parameters.extend(parameters.iter().filter_map(|p| serde_json::to_value(p).ok()));
    }
}
impl<T: ToSchema> Part for Given<T> {
    fn describe(draft: &mut Draft) {
        draft.body = Some(draft.learn::<T>());
    }
}

/// What a handler gives.
pub trait Gives {
    fn describe(draft: &mut Draft);
}
impl<T: ToSchema> Gives for Reply<T> {
    fn describe(draft: &mut Draft) {
        draft.answer = Some(("application/json", draft.learn::<T>()));
    }
}
/// Bytes, or events.
impl Gives for Result<Response, Problem> {
    fn describe(draft: &mut Draft) {
        draft.answer = Some(("application/octet-stream", json!({ "type": "string" })));
    }
}

/// A function whose parts and answer are described.
pub trait Described<Args> {
    fn draft() -> Draft;
}

macro_rules! described {
    ($($part:ident)*) => {
        impl<F, Answer, $($part: Part),*> Described<($($part,)*)> for F
        where
            F: AsyncFn($($part),*) -> Answer,
            Answer: Gives,
        {
            fn draft() -> Draft {
                let mut draft = Draft::default();
                $($part::describe(&mut draft);)*
                Answer::describe(&mut draft);
                draft
            }
        }
    };
}
described! { A B }
described! { A B C }
described! { A B C D }

pub fn draft_of<Args, F: Described<Args>>(_: F) -> Draft {
    F::draft()
}

pub async fn document(_: Reader, State(_): State<App>) -> Reply<Value> {
    Ok(Json(describe()))
}

/// The whole document.
pub fn describe() -> Value {
    let mut schemas = BTreeMap::from([(
        "Problem".to_owned(),
        serde_json::to_value(Document::schema()).unwrap_or_default(),
    )]);
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in ROUTES {
        let mut draft = (route.draft)();
        schemas.append(&mut draft.schemas);
        paths
            .entry(route.path)
            .or_default()
            .insert(route.method.to_ascii_lowercase(), operation(route, draft));
    }
    for public in PUBLIC {
        let mut draft = (public.draft)();
        schemas.append(&mut draft.schemas);
        paths
            .entry(public.path)
            .or_default()
            .insert(public.method.to_ascii_lowercase(), public_operation(public, draft));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Warren coordinator",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Times are seconds since 1970 unless their name ends in `_ms` or says otherwise; sizes are bytes. Errors are `application/problem+json` (RFC 9457).",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An API key of `warren key create`." },
                "session": { "type": "apiKey", "in": "cookie", "name": COOKIE, "description": "A session of the page: it opens what a key of its scope opens." },
                "csrf": { "type": "apiKey", "in": "header", "name": CSRF, "description": "`csrf` of the session: with a session, everything that is no GET needs it." },
            },
        },
    })
}

fn operation(route: &Route, draft: Draft) -> Value {
    let (kind, schema) = draft.answer.unwrap_or(("application/json", json!({})));
    let kind = match route.path {
        "/v1/events" => "text/event-stream",
        "/metrics" => "application/openmetrics-text",
        _ => kind,
    };
    let scope = draft.scope.unwrap_or(Scope::Admin).word();
    let mut parameters = draft.parameters;
    parameters.extend(
        names_in(route.path).map(
            |name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }),
        ),
    );
    let operation = json!({
        "operationId": name_of(route.method, route.path),
        "summary": route.summary,
        "description": format!("Needs scope `{scope}`."),
        "security": [{ "key": [] }],
        "parameters": parameters,
        "responses": responses("200", json!({ "description": "done", "content": { kind: { "schema": schema } } })),
    });
    with_body(operation, draft.body)
}

fn public_operation(public: &Public, draft: Draft) -> Value {
    let (needs, security) = match public.needs {
        Needs::Nothing => ("Needs nothing but what is sent.", json!([])),
        Needs::Session => ("Needs a session of the page.", json!([{ "session": [] }])),
        Needs::SessionAndToken => {
            ("Needs a session of the page and its token.", json!([{ "session": [], "csrf": [] }]))
        }
    };
    let (status, done) = match draft.answer {
        Some((kind, schema)) => {
            ("200", json!({ "description": "done", "content": { kind: { "schema": schema } } }))
        }
        None => ("204", json!({ "description": "done" })),
    };
    let operation = json!({
        "operationId": name_of(public.method, public.path),
        "summary": public.summary,
        "description": format!("{needs} Only on the TCP port."),
        "security": security,
        "parameters": draft.parameters,
        "responses": responses(status, done),
    });
    with_body(operation, draft.body)
}

fn with_body(mut operation: Value, body: Option<Value>) -> Value {
    if let (Some(body), Some(object)) = (body, operation.as_object_mut()) {
        let content = json!({ "required": true, "content": { "application/json": { "schema": body } } });
        object.insert("requestBody".to_owned(), content);
    }
    operation
}

/// What is answered when all is well, and every problem.
fn responses(status: &str, done: Value) -> Value {
    let problem = |why: &str| {
        json!({
            "description": why,
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        })
    };
    json!({
        status: done,
        "400": problem("the request is not what this route reads; the detail says what is"),
        "401": problem("no key, or one that opens nothing"),
        "403": problem("the key's scope is too small"),
        "404": problem("what is named is not known"),
        "409": problem("something else happened meanwhile"),
        "421": problem("the request names a host that is none of this API's"),
        "413": problem("the body is too large"),
        "422": problem("understood, and refused as things are"),
        "429": problem("too much from one source"),
        "503": problem("busy, or there was no answer in time; try again"),
        "507": problem("the store is full"),
    })
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn name_of(method: &str, path: &str) -> String {
    let words = path.split('/').filter(|part| !part.is_empty() && *part != "v1");
    let words: Vec<String> = words.map(|part| part.replace(['{', '}', '.'], "")).collect();
    format!("{}-{}", method.to_ascii_lowercase(), words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_name_in_the_description_is_described() {
        let document = describe();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 50, "{}", found.len());
        for name in found {
            let place = name.strip_prefix('#').expect("a place in the document");
            assert!(document.pointer(place).is_some(), "{name} is nowhere");
        }
    }

    #[test]
    fn every_route_is_described_with_its_scope() {
        let document = describe();
        for route in ROUTES {
            let place = &document["paths"][route.path][route.method.to_ascii_lowercase()];
            let words = place["description"].as_str().unwrap_or_default();
            assert!(words.contains((route.scope)().word()), "{} {}", route.method, route.path);
            assert!(!route.summary.is_empty() && place["responses"]["200"].is_object());
        }
        for public in PUBLIC {
            let place = &document["paths"][public.path][public.method.to_ascii_lowercase()];
            let key = json!([{ "key": [] }]);
            assert!(
                place["security"].is_array() && place["security"] != key,
                "{} {}",
                public.method,
                public.path
            );
            assert!(place["responses"]["200"].is_object() || place["responses"]["204"].is_object());
        }
        let query = document["paths"]["/v1/map"]["get"]["parameters"].to_string();
        assert!(query.contains("\"window\"") && query.contains("seconds"), "{query}");
    }
}
