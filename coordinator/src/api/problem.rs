//! Errors of the API: RFC 9457 `application/problem+json`. `type` is a stable word the command can branch on,
//! `detail` says what is wrong, with which value, and what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use warren_coordinator_core::access::Scope;
use warren_coordinator_core::refusal::Refusal;
use warren_coordinator_core::store::StoreError;

use super::caller::Principal;
use crate::owner::{CommandError, Stopped};

/// One pointer wide, because nearly every function here may return it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Problem(Box<Document>);

impl std::ops::Deref for Problem {
    type Target = Document;
    fn deref(&self) -> &Document {
        &self.0
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// A relative reference, `/problems/WORD`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Faults of a policy, as `policy check --json` shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Value>,
    /// Failed tests of a policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tests: Vec<Value>,
    /// Invariants that do not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invariants: Vec<Value>,
}

/// The closed list of what can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No key, or one that opens nothing (any more).
    Unauthenticated,
    /// Asked by a page or for a host that is not this API's.
    Misdirected,
    /// Too much from one source.
    TooMany,
    Forbidden,
    NotFound,
    WrongMethod,
    BadRequest,
    TooLarge,
    /// The request was understood and the state of the network does not permit it.
    Refused,
    /// The caller expected another state than there is.
    Conflict,
    /// The store cannot take changes now; nothing was changed.
    StoreFull,
    Busy,
    Internal,
}

impl Kind {
    fn parts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Kind::Unauthenticated => ("unauthenticated", StatusCode::UNAUTHORIZED, "Who are you?"),
            Kind::Misdirected => ("misdirected", StatusCode::MISDIRECTED_REQUEST, "Not for this host"),
            Kind::TooMany => ("too-many-requests", StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
            Kind::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "Not permitted"),
            Kind::NotFound => ("not-found", StatusCode::NOT_FOUND, "Not found"),
            Kind::WrongMethod => {
                ("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Not with this method")
            }
            Kind::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "Bad request"),
            Kind::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "Too large"),
            Kind::Refused => ("refused", StatusCode::UNPROCESSABLE_ENTITY, "Refused"),
            Kind::Conflict => ("conflict", StatusCode::CONFLICT, "Conflict"),
            Kind::StoreFull => {
                ("store-full", StatusCode::INSUFFICIENT_STORAGE, "The store cannot take changes")
            }
            Kind::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "Busy"),
            Kind::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let (word, status, title) = kind.parts();
        Problem(Box::new(Document {
            kind: format!("/problems/{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
            findings: Vec::new(),
            tests: Vec::new(),
            invariants: Vec::new(),
        }))
    }

    /// A no of the coordinator; its code becomes the problem's word.
    pub fn refusal(refusal: &Refusal) -> Problem {
        let kind = match refusal {
            Refusal::KeyUnknown { .. } => Kind::NotFound,
            Refusal::NodeUnknown(_) | Refusal::TokenUnknown { .. } | Refusal::GenerationUnknown(_) => {
                Kind::NotFound
            }
            Refusal::PolicyMoved { .. } | Refusal::WrongGeneration { .. } | Refusal::OldSerial { .. } => {
                Kind::Conflict
            }
            Refusal::BadQuestion(_) => Kind::BadRequest,
            Refusal::NotStored(_) | Refusal::Overloaded(_) => Kind::Busy,
            _ => Kind::Refused,
        };
        let values = |v: Value| if let Value::Array(items) = v { items } else { Vec::new() };
        let body = refusal.body();
        let mut problem = Problem::new(kind, body.message);
        problem.0.kind = format!("/problems/{}", body.code);
        problem.0.hint = Some(body.hint.to_owned());
        problem.0.findings = values(serde_json::to_value(&body.findings).unwrap_or_default());
        problem.0.tests = values(serde_json::to_value(&body.tests).unwrap_or_default());
        problem.0.invariants = values(serde_json::to_value(&body.invariants).unwrap_or_default());
        problem
    }

    pub fn store(error: &StoreError) -> Problem {
        let kind = match error {
            StoreError::Full(_) => Kind::StoreFull,
            StoreError::Conflict { .. } | StoreError::Busy(_) => Kind::Busy,
            _ => Kind::Internal,
        };
        let problem = Problem::new(kind, error.to_string());
        match kind {
            Kind::StoreFull => problem.with_hint("free space on the disk of the state directory, then give the command again: no restart is needed"),
            _ => problem,
        }
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Problem {
        self.0.hint = Some(hint.into());
        self
    }

    pub fn into_document(self) -> Document {
        *self.0
    }

    /// The word behind `/problems/`.
    pub fn word(&self) -> &str {
        self.kind.strip_prefix("/problems/").unwrap_or(&self.kind)
    }

    pub fn forbidden(who: &str, group: Option<&str>) -> Problem {
        let join = match group {
            Some(group) => format!(", or ask for membership of group `{group}`"),
            None => String::new(),
        };
        Problem::new(
            Kind::Forbidden,
            format!(
                "{who} may not administer this coordinator: run the command as root or as the service's user{join}"
            ),
        )
    }

    /// Known, but not for this.
    pub fn scope(who: &Principal, needed: Scope) -> Problem {
        let (has, needs) = (who.scope().word(), needed.word());
        Problem::new(Kind::Forbidden, format!("{who} has scope `{has}`, this needs `{needs}`"))
            .with_hint(format!("use a key of scope `{needs}`: `warren key create --scope {needs}`"))
    }

    /// Nobody known. How to become somebody.
    pub fn unauthenticated(detail: impl Into<String>) -> Problem {
        Problem::new(Kind::Unauthenticated, detail).with_hint(
            "send `Authorization: Bearer KEY` with a key made by `warren key create`, or sign in on the page (`warren ui` prints a link)",
        )
    }

    pub fn is(&self, kind: Kind) -> bool {
        self.status == kind.parts().1.as_u16()
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        Problem::refusal(&refusal)
    }
}
impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Problem {
        match error {
            CommandError::Refused(refusal) => Problem::refusal(&refusal),
            CommandError::Store(error) => Problem::store(&error),
        }
    }
}
impl From<Stopped> for Problem {
    fn from(stopped: Stopped) -> Problem {
        Problem::new(Kind::Busy, stopped.to_string()).with_hint("try again when it has started")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let json = HeaderValue::from_static("application/problem+json");
        (status, [(header::CONTENT_TYPE, json)], body).into_response()
    }
}
