//! Errors of the API: RFC 9457 `application/problem+json`. `type` is a stable word the command can branch on,
//! `detail` says what is wrong, with which value, and what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A relative reference, `/problems/WORD`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
}

/// The closed list of what can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Forbidden,
    NotFound,
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
            Kind::Forbidden => ("forbidden", StatusCode::FORBIDDEN, "Not permitted"),
            Kind::NotFound => ("not-found", StatusCode::NOT_FOUND, "Not found"),
            Kind::BadRequest => ("bad-request", StatusCode::BAD_REQUEST, "Bad request"),
            Kind::TooLarge => ("too-large", StatusCode::PAYLOAD_TOO_LARGE, "Too large"),
            Kind::Refused => ("refused", StatusCode::UNPROCESSABLE_ENTITY, "Refused"),
            Kind::Conflict => ("conflict", StatusCode::CONFLICT, "Conflict"),
            Kind::StoreFull => ("store-full", StatusCode::INSUFFICIENT_STORAGE, "The store cannot take changes"),
            Kind::Busy => ("busy", StatusCode::SERVICE_UNAVAILABLE, "Busy"),
            Kind::Internal => ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }
}

impl Problem {
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        let (word, status, title) = kind.parts();
        Problem {
            kind: format!("/problems/{word}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
        }
    }

    pub fn forbidden(who: &str, group: Option<&str>) -> Problem {
        let join = match group {
            Some(group) => format!(", or ask for membership of group `{group}`"),
            None => String::new(),
        };
        Problem::new(
            Kind::Forbidden,
            format!("{who} may not administer this coordinator: run the command as root or as the service's user{join}"),
        )
    }

    pub fn is(&self, kind: Kind) -> bool {
        self.kind.strip_prefix("/problems/") == Some(kind.parts().0)
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
