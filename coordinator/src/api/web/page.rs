//! The page: files that were built from `ui/` and lie in the program. No word in them is from the network.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "ui/dist"]
struct Files;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file, or the page itself for every address that is one of its own.
pub async fn page(method: Method, uri: Uri) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return crate::api::wrong_method().await.into_response();
    }
    let path = uri.path().trim_start_matches('/');
    if path.starts_with("v1/") {
        return crate::api::unknown().await.into_response();
    }
    match Files::get(path) {
        Some(file) if !path.is_empty() => answer(path, file.data.into_owned(), path.starts_with("assets/")),
        _ if path.rsplit('/').next().is_some_and(|last| last.contains('.')) => {
            StatusCode::NOT_FOUND.into_response()
        }
        _ => match Files::get("index.html") {
            Some(file) => answer("index.html", file.data.into_owned(), false),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

/// Names of assets change with their content, so they may be kept for ever.
fn answer(path: &str, data: Vec<u8>, for_ever: bool) -> Response {
    let mut response = Response::new(Body::from(data));
    let cache = if for_ever { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(path)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("json") => "application/json",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}

/// What every answer says to a browser, the API's too.
pub fn guard(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in
        [("cross-origin-opener-policy", "same-origin"), ("cross-origin-resource-policy", "same-origin")]
    {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
