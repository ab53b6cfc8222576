//! Query strings and bodies, read once at the door; what cannot be read is a problem document, never a guess.

use std::sync::{Arc, Weak};

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::IntoParams;
use utoipa::openapi::path::ParameterIn;

use super::problem::{Kind, Problem};
use crate::text::plain;

/// Largest request body.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

pub type Reply<T> = Result<Json<T>, Problem>;

/// The query string as `T`.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned + IntoParams, S: Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Asked<T>, Problem> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Asked(value)),
            Err(error) => Err(unread::<T>(&error.body_text())),
        }
    }
}

/// What is valid stands in the description of the parameter, so it is said from there.
fn unread<T: IntoParams>(why: &str) -> Problem {
    let parameters: Vec<Value> = T::into_params(|| Some(ParameterIn::Query))
        .iter()
        .filter_map(|parameter| serde_json::to_value(parameter).ok())
        .collect();
    let name = |parameter: &Value| parameter["name"].as_str().unwrap_or_default().to_owned();
    let meant = parameters.iter().find(|parameter| why.contains(&format!(": {}: ", name(parameter))));
    let hint = match meant {
        Some(parameter) => format!("`{}`: {}", name(parameter), valid(parameter)),
        None => {
            let names: Vec<String> = parameters.iter().map(|p| format!("`{}`", name(p))).collect();
            format!("this route reads {}, each at most once", names.join(", "))
        }
    };
    Problem::new(Kind::BadRequest, plain(why, 300)).with_hint(hint)
}

fn valid(parameter: &Value) -> String {
    let kind = parameter["schema"]["type"].to_string();
    let kind = match kind.as_str() {
        kind if kind.contains("integer") => "a whole number, not negative",
        kind if kind.contains("boolean") => "`true` or `false`",
        kind if kind.contains("string") => "text",
        _ => "one of the words that are named",
    };
    match parameter["description"].as_str() {
        Some(words) => format!("{kind}. {words}"),
        None => kind.to_owned(),
    }
}

/// How many rows an answer may have at most: 0 stands for `default`; what is over `most` is refused, not cut.
pub fn rows(limit: usize, default: usize, most: usize) -> Result<usize, Problem> {
    match limit {
        0 => Ok(default),
        limit if limit <= most => Ok(limit),
        limit => Err(Problem::new(
            Kind::BadRequest,
            format!("`limit` is {limit}: it is at most {most}; 0 stands for {default}"),
        )),
    }
}

/// The one parameter of the path.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Named(name)),
            Err(error) => Err(Problem::new(Kind::BadRequest, plain(&error.body_text(), 300))
                .with_hint("a name in the path is UTF-8, with what is not a letter or digit as %XX")),
        }
    }
}

/// A JSON body as `T`.
pub struct Given<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Given<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, state: &S) -> Result<Given<T>, Problem> {
        let bytes = Bytes::from_request(request, state).await.map_err(unreadable)?;
        serde_json::from_slice(&bytes).map(Given).map_err(|error| {
            Problem::new(
                Kind::BadRequest,
                format!("the body is not what this route reads: {}", plain(&error.to_string(), 300)),
            )
        })
    }
}

fn unreadable(rejection: BytesRejection) -> Problem {
    match rejection.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Kind::TooLarge, format!("the body is over {MAX_BODY} bytes: send less at once"))
        }
        _ => Problem::new(
            Kind::BadRequest,
            format!("the body could not be read: {}", plain(&rejection.body_text(), 200)),
        ),
    }
}

pub fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(Kind::Internal, error.to_string())
}

/// Work on files, off the threads that answer.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(internal(error)))
}

/// As [`blocking`], for work that is long: it can ask whether anybody still waits for its answer.
pub async fn while_awaited<T: Send + 'static>(
    work: impl FnOnce(&Awaited) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    // Lives exactly as long as this future, which goes with its caller's connection.
    let caller = Arc::new(());
    let awaited = Awaited(Arc::downgrade(&caller));
    let reply = blocking(move || work(&awaited)).await;
    drop(caller);
    reply
}

/// Whether a caller still waits.
pub struct Awaited(Weak<()>);

impl Awaited {
    pub fn is_so(&self) -> bool {
        self.0.strong_count() > 0
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn long_work_ends_when_its_caller_has_gone() {
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let caller = tokio::spawn(while_awaited(move |awaited| {
            let _ = begin.send(awaited.is_so());
            while awaited.is_so() {
                std::thread::yield_now();
            }
            let _ = end.send(());
            Ok(())
        }));
        assert_eq!(begun.await, Ok(true));
        caller.abort();
        assert_eq!(ended.await, Ok(()));
    }
}
