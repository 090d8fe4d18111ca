//! Key-value stores of the whole app: [`KvStore`].
//!
//! The manifest's `[kv]` binds them, [`Env::kv`] opens them, in workers and in objects
//! alike. A store is an object of a class that the host has built in, so all callers see
//! one order of things: what was put is there for everybody as soon as `put` returns, and
//! it is durable then. An object's own pairs are [`Kv`](crate::kv::Kv).
//!
//! ```no_run
//! # use dormouse_sdk::prelude::*;
//! # use std::time::Duration;
//! # async fn handler(env: &Env) -> Result<()> {
//! let cache = env.kv("CACHE")?;
//! cache.put_for("greeting:ada", "Hello, Ada", Duration::from_secs(60)).await?;
//! let greeting: Option<String> = cache.get("greeting:ada").await?;
//! let page = cache.list(ListKeys::prefix("greeting:").limit(10)).await?;
//! for key in &page.keys {
//!     cache.delete(&key.name).await?;
//! }
//! # Ok(())
//! # }
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::api::call;
use crate::http::Body;
use crate::namespace::{CallError, Namespace, Stub, context};
use crate::object::Env;
use crate::{Context as _, Result};

/// One store of the app. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KvStore {
    stub: Stub,
}

/// Which keys [`KvStore::list`] answers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ListKeys {
    prefix: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
}

/// A page of keys, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Keys {
    /// Those of this page.
    pub keys: Vec<Key>,
    /// For [`ListKeys::after`], if there are more.
    pub next: Option<String>,
}

/// One key of a store.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Key {
    /// The key itself.
    pub name: String,
    expires_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    value: Json,
}

impl Env {
    /// The key-value store behind a binding of the manifest's `[kv]`.
    pub fn kv(&self, binding: &str) -> Result<KvStore> {
        let store = Namespace::<Stub>::open(binding);
        let store = store.map_err(|error| context(binding, error))?;
        // The binding leads to one store, whatever it is called.
        let stub = store.get_by_name(binding);
        Ok(KvStore { stub })
    }
}

impl KvStore {
    /// The value of a key; `None` if there is none, or its time is over.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let found: Option<Found> = call(&self.stub, "get", (key,), Body::empty()).await?;
        let value = found.map(|found| serde_json::from_value(found.value));
        let value = value.transpose();
        value.with_context(|| format!("the value of {key:?} does not fit"))
    }

    /// The same for what [`put_bytes`](Self::put_bytes) has put.
    pub async fn get_bytes(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let arguments = json!([key]).to_string();
        let answer = self.stub.call("get", arguments, Body::empty()).await?;
        if answer.value == "null" {
            return Ok(None);
        }
        Ok(Some(Body::from_wit(answer.body).bytes().await?))
    }

    /// Puts anything that serde can write as JSON, in place of what the key has. It
    /// stays until it is deleted.
    pub async fn put(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<()> {
        self.put_json(key, value, None).await
    }

    /// The same, for so long (at least a millisecond).
    pub async fn put_for(
        &self,
        key: &str,
        value: &(impl Serialize + ?Sized),
        time_to_live: Duration,
    ) -> Result<()> {
        self.put_json(key, value, Some(time_to_live)).await
    }

    /// Puts bytes.
    pub async fn put_bytes(&self, key: &str, bytes: impl Into<Vec<u8>>) -> Result<()> {
        self.put_any(key, Json::Null, Body::from(bytes.into()), None)
            .await
    }

    /// The same, for so long.
    pub async fn put_bytes_for(
        &self,
        key: &str,
        bytes: impl Into<Vec<u8>>,
        time_to_live: Duration,
    ) -> Result<()> {
        let body = Body::from(bytes.into());
        self.put_any(key, Json::Null, body, Some(time_to_live))
            .await
    }

    /// Deletes an entry; whether it was there.
    pub async fn delete(&self, key: &str) -> Result<bool, CallError> {
        call(&self.stub, "delete", (key,), Body::empty()).await
    }

    /// The keys within bounds: `list(ListKeys::default())` for the first 1,000 of all.
    pub async fn list(&self, which: ListKeys) -> Result<Keys, CallError> {
        call(&self.stub, "list", (which,), Body::empty()).await
    }

    async fn put_json(
        &self,
        key: &str,
        value: &(impl Serialize + ?Sized),
        time_to_live: Option<Duration>,
    ) -> Result<()> {
        let value = serde_json::to_value(value);
        let value = value.with_context(|| format!("the value for {key:?} is no JSON"))?;
        self.put_any(key, value, Body::empty(), time_to_live).await
    }

    async fn put_any(
        &self,
        key: &str,
        value: Json,
        body: Body,
        time_to_live: Option<Duration>,
    ) -> Result<()> {
        let options = match time_to_live {
            Some(time) => json!({"ttl_ms": u64::try_from(time.as_millis()).unwrap_or(u64::MAX)}),
            None => json!({}),
        };
        let put = call(&self.stub, "put", (key, value, options), body).await;
        Ok(put?)
    }
}

impl ListKeys {
    /// Those that begin with this.
    #[must_use]
    pub fn prefix(prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        Self {
            prefix,
            ..Self::default()
        }
    }

    /// At most so many, 1 to 1,000.
    #[must_use]
    pub fn limit(mut self, most: u32) -> Self {
        self.limit = Some(most);
        self
    }

    /// Only those behind this key: [`Keys::next`] of the page before.
    #[must_use]
    pub fn after(mut self, key: impl Into<String>) -> Self {
        self.after = Some(key.into());
        self
    }
}

impl Key {
    /// When it goes away, if it does by itself.
    pub fn expires(&self) -> Option<SystemTime> {
        let since = self.expires_ms.map(Duration::from_millis)?;
        Some(UNIX_EPOCH + since)
    }
}
