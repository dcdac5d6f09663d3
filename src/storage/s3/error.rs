//! What an answer of S3 means to the caller, in one place.

use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::ProvideErrorMetadata;

use super::super::missing;
use super::super::retry::Failure;
use crate::error::{Error, ErrorKind};

/// The SDK's error of one operation.
pub(super) type SdkError<E> = aws_sdk_s3::error::SdkError<E, HttpResponse>;

/// An operation's own error type.
pub(super) trait ServiceFailure: ProvideErrorMetadata + std::error::Error + 'static {}
impl<E: ProvideErrorMetadata + std::error::Error + 'static> ServiceFailure for E {}

const CREDENTIALS_HINT: &str = "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the instance role or \
                                elacsym.s3_credentials_file, and the policy of the bucket.";

/// What was asked of whom, for messages.
#[derive(Debug, Clone)]
pub(super) struct Request<'a> {
    /// A verb: "read", "write".
    pub(super) doing: &'a str,
    /// Key relative to the root.
    pub(super) key: &'a str,
    pub(super) bucket: &'a str,
    pub(super) root: &'a str,
    pub(super) endpoint: &'a str,
}

impl Request<'_> {
    /// Maps an error of the SDK.
    pub(super) fn failure<E: ServiceFailure>(&self, error: &SdkError<E>) -> Failure {
        use aws_sdk_s3::error::SdkError as Sdk;
        match error {
            Sdk::ServiceError(context) => {
                let (code, message) = (context.err().code().unwrap_or(""), context.err().message().unwrap_or(""));
                self.service_failure(Some(context.raw().status().as_u16()), code, message)
            }
            Sdk::ResponseError(context) => {
                let status = context.raw().status().as_u16();
                // A page of some proxy, or an answer cut short.
                self.service_failure(Some(if status < 400 { 502 } else { status }), "", "the response is not valid")
            }
            Sdk::ConstructionFailure(_) | Sdk::DispatchFailure(_) if chain(error).contains("credential") => {
                Failure::Final(
                    Error::new(ErrorKind::Denied, format!("no credentials for object store \"{}\"", self.root))
                        .with_detail(chain(error))
                        .with_hint(CREDENTIALS_HINT),
                )
            }
            Sdk::ConstructionFailure(_) => Failure::Final(
                Error::invalid(format!("request to object store \"{}\" cannot be made", self.root))
                    .with_detail(chain(error))
                    .with_hint("Check elacsym.s3_endpoint and elacsym.s3_region."),
            ),
            _ => Failure::Transient(
                Error::unavailable(format!("object store \"{}\" at {} cannot be reached", self.root, self.endpoint))
                    .with_detail(chain(error))
                    .with_hint("Check the network, elacsym.s3_endpoint and elacsym.s3_path_style."),
            ),
        }
    }

    /// Maps an answer of the service: its HTTP status if there is one of its own, its code and its message.
    pub(super) fn service_failure(&self, status: Option<u16>, code: &str, message: &str) -> Failure {
        let status = status.unwrap_or(0);
        let said = match (code, message) {
            ("", "") => format!("HTTP status {status}"),
            (code, "") => code.to_owned(),
            ("", message) => format!("HTTP status {status}: {message}"),
            (code, message) => format!("{code}: {message}"),
        };
        let error = |kind: ErrorKind, what: String| Error::new(kind, what).with_detail(said.clone());
        let failed = || format!("could not {} \"{}\" in \"{}\" at {}", self.doing, self.key, self.root, self.endpoint);
        match (status, code) {
            (_, "NoSuchBucket") => Failure::Final(
                error(ErrorKind::NotFound, format!("bucket \"{}\" does not exist at {}", self.bucket, self.endpoint))
                    .with_hint(
                        "Create the bucket, or correct elacsym.storage_url, elacsym.s3_endpoint or elacsym.s3_region.",
                    ),
            ),
            (_, "NoSuchUpload") => Failure::Final(error(ErrorKind::Fenced, failed())),
            (404, _) | (_, "NoSuchKey" | "NotFound") => Failure::Final(missing(self.root, self.key)),
            (412, _) | (_, "PreconditionFailed") => {
                let what = format!("object \"{}\" exists already in \"{}\"", self.key, self.root);
                Failure::Final(error(ErrorKind::AlreadyExists, what))
            }
            (416, _) | (_, "InvalidRange") => Failure::Final(error(ErrorKind::OutOfRange, failed())),
            (_, "RequestTimeTooSkewed") => {
                Failure::Final(error(ErrorKind::Denied, failed()).with_hint("The clock of this machine is wrong."))
            }
            (301 | 307, _)
            | (_, "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException") => {
                let what =
                    format!("bucket \"{}\" belongs to another region or endpoint than {}", self.bucket, self.endpoint);
                Failure::Final(
                    error(ErrorKind::Invalid, what).with_hint("Set elacsym.s3_region to the region of the bucket."),
                )
            }
            // The service asks to come again, whatever its status; 409: two conditional writes met; 408: an upload stalled.
            (408 | 409 | 429 | 500 | 502 | 503 | 504, _)
            | (
                _,
                "SlowDown"
                | "InternalError"
                | "ServiceUnavailable"
                | "RequestTimeout"
                | "Throttling"
                | "ThrottlingException"
                | "RequestLimitExceeded"
                | "OperationAborted"
                | "ConditionalRequestConflict",
            ) => Failure::Transient(
                error(ErrorKind::Unavailable, failed())
                    .with_hint("The object store is overloaded or failing; it may pass."),
            ),
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken") => {
                let what = format!("bucket \"{}\" at {} refused the credentials", self.bucket, self.endpoint);
                Failure::Final(error(ErrorKind::Denied, what).with_hint(CREDENTIALS_HINT))
            }
            (401 | 403, _) | (_, "AccessDenied") => {
                let what = format!("access to object store \"{}\" at {} is denied", self.root, self.endpoint);
                Failure::Final(error(ErrorKind::Denied, what).with_hint(CREDENTIALS_HINT))
            }
            (507, _) | (_, "QuotaExceeded" | "XMinioStorageFull") => {
                Failure::Final(error(ErrorKind::Exhausted, failed()).with_hint("The object store is full."))
            }
            (501, _) => {
                Failure::Final(error(ErrorKind::Invalid, failed()).with_hint("The object store lacks this operation."))
            }
            (505.., _) => Failure::Transient(error(ErrorKind::Unavailable, failed())),
            _ => Failure::Final(error(ErrorKind::Invalid, failed())),
        }
    }

    /// The service took longer than `limit`.
    pub(super) fn timed_out(&self, limit: Duration) -> Failure {
        let what = format!("object store \"{}\" at {} did not answer in time", self.root, self.endpoint);
        let detail = format!("{} \"{}\", {} ms", self.doing, self.key, limit.as_millis());
        Failure::Transient(
            Error::unavailable(what)
                .with_detail(detail)
                .with_hint("Check the network, elacsym.s3_endpoint and elacsym.s3_path_style."),
        )
    }

    /// The response began and did not end.
    pub(super) fn broken_off(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        let what =
            format!("object \"{}\" of \"{}\" could not be read to its end from {}", self.key, self.root, self.endpoint);
        Failure::Transient(
            Error::unavailable(what)
                .with_detail(chain(error))
                .with_hint("The network or the object store breaks off its answers; it may pass."),
        )
    }
}

/// An error and its causes in one line. Only their `Display`: `Debug` could show headers.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |e| e.source()).map(ToString::to_string);
    let mut parts: Vec<String> = causes.collect();
    parts.dedup();
    parts.join(": ")
}
