//! What the administration's requests carry in their query string.

use axum::http::StatusCode;
use serde::Deserialize;

use crate::admin::{ClientKey, PAGE_ITEMS_MAX, PageRequest};

/// Items of a page if the request does not say.
const PAGE_ITEMS_DEFAULT: u16 = 100;

/// Every parameter; each handler looks at its own. An unknown one is refused, so that a slip is not an answer to
/// another question.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    id: Option<String>,
    namespace: Option<String>,
    after: Option<String>,
    limit: Option<u16>,
    filter: Option<String>,
}

impl Parameters {
    /// The client that `id` names, in the name space `default` unless another is named.
    pub(super) fn client(&self) -> Result<ClientKey, (StatusCode, &'static str)> {
        let missing = (StatusCode::BAD_REQUEST, "say which client: ?id=CLIENT_ID[&namespace=NAME]\n");
        self.optional_client().ok_or(missing)
    }

    pub(super) fn optional_client(&self) -> Option<ClientKey> {
        let namespace = self.namespace.clone().unwrap_or_else(|| "default".to_owned());
        Some(ClientKey { namespace, client_id: self.id.clone()? })
    }

    pub(super) fn page(&self) -> PageRequest {
        PageRequest { after: self.after.clone(), limit: self.limit() }
    }

    pub(super) fn limit(&self) -> u16 {
        self.limit.unwrap_or(PAGE_ITEMS_DEFAULT).clamp(1, PAGE_ITEMS_MAX)
    }

    pub(super) fn filter(&self) -> Option<&str> {
        self.filter.as_deref()
    }
}
