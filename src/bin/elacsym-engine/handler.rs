//! Requests of the socket to methods of the engine.

use async_trait::async_trait;
use elacsym::engine::Engine;
use elacsym::error::{Error, Result};
use elacsym::ipc::message::Request;
use elacsym::ipc::server::{Handler, Provider, Reply};
use std::sync::Arc;

/// The engine behind the socket.
pub struct Search(pub Arc<Engine>);

#[async_trait]
impl Handler for Search {
    async fn handle(&self, request: Request, provider: &mut dyn Provider) -> Result<Reply> {
        match request {
            Request::Ping => Ok(Reply::Done),
            Request::Query(request) => {
                let (rows, stats) = self.0.query(*request, provider).await?;
                Ok(Reply::Rows(rows, stats))
            }
            Request::Fetch(request) => {
                let (rows, stats) = self.0.fetch(*request, provider).await?;
                Ok(Reply::Rows(rows, stats))
            }
            Request::Flush(request) => Ok(Reply::Flushed(Box::new(self.0.flush(*request, provider).await?))),
            Request::PutManifest { root, path, generation, json } => {
                self.0.put_manifest(&root, &path, generation, json).await?;
                Ok(Reply::Done)
            }
            Request::DeleteObjects { root, keys } => {
                self.0.delete_objects(&root, &keys).await?;
                Ok(Reply::Done)
            }
            Request::CheckStorage => {
                self.0.check_storage().await?;
                Ok(Reply::Done)
            }
            Request::Stats => Ok(Reply::Stats(self.0.stats_json().await)),
            Request::Hello { .. } | Request::Provide { .. } => {
                Err(Error::internal("the socket server handles this request itself"))
            }
        }
    }
}
