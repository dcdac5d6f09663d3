//! Requests of the socket to methods of the engine.

use async_trait::async_trait;
use elacsym::engine::{Aggregated, Engine, Warmed};
use elacsym::error::{Error, Result};
use elacsym::ipc::message::Request;
use elacsym::ipc::server::{Handler, Provider, Reply, Session};
use std::sync::Arc;

/// The engine behind the socket.
pub struct Search(pub Arc<Engine>);

impl Handler for Search {
    fn connect(&self) -> Box<dyn Session> {
        Box::new(Connection(elacsym::engine::Session::new(self.0.clone())))
    }
}

/// One connection.
struct Connection(elacsym::engine::Session);

#[async_trait]
impl Session for Connection {
    async fn handle(&mut self, request: Request, provider: &mut dyn Provider) -> Result<Reply> {
        let engine = self.0.engine().clone();
        match request {
            Request::Ping => Ok(Reply::Done),
            Request::Query(request) => {
                let (rows, stats) = engine.query(*request, provider).await?;
                Ok(Reply::Rows(rows, stats))
            }
            Request::Candidates(request) => {
                let (rows, stats) = engine.candidates(*request, provider).await?;
                Ok(Reply::Candidates(rows, stats))
            }
            Request::Fetch(request) => {
                let (rows, stats) = engine.fetch(*request, provider).await?;
                Ok(Reply::Rows(rows, stats))
            }
            Request::Flush(request) => Ok(Reply::Flushed(Box::new(engine.flush(*request, provider).await?))),
            Request::PutManifest { root, path, generation, json } => {
                engine.put_manifest(&root, &path, generation, json).await?;
                Ok(Reply::Done)
            }
            Request::DeleteObjects { root, keys } => {
                engine.delete_objects(&root, &keys).await?;
                Ok(Reply::Done)
            }
            Request::CheckStorage => {
                engine.check_storage().await?;
                Ok(Reply::Done)
            }
            Request::Stats => Ok(Reply::Stats(engine.stats_json().await)),
            Request::ScanOpen(request) => {
                let (scan, part) = self.0.scan_open(*request, provider).await?;
                Ok(Reply::ScanRows { scan, rows: part.rows, exhausted: part.exhausted, stats: part.stats })
            }
            Request::ScanNext { scan, rows } => {
                let part = self.0.scan_next(scan, rows).await?;
                Ok(Reply::ScanRows { scan, rows: part.rows, exhausted: part.exhausted, stats: part.stats })
            }
            Request::ScanClose { scans } => {
                self.0.close(&scans);
                Ok(Reply::Done)
            }
            Request::Keys(request) => Ok(Reply::Keys(engine.keys(*request, provider).await?)),
            Request::CheckSegment { schema, info } => {
                engine.check_segment(&schema, &info).await?;
                Ok(Reply::Done)
            }
            Request::TextMatch { options, query, texts } => {
                Ok(Reply::Matches(engine.text_match(options, query, texts).await?))
            }
            Request::ScorerOpen(request) => Ok(Reply::ScorerOpened(self.0.scorer_open(*request, provider).await?)),
            Request::Corpus(request) => Ok(Reply::Corpus(engine.corpus(*request, provider).await?)),
            Request::ScoreTexts { scorer, texts } => Ok(Reply::Scores(self.0.score_texts(scorer, texts).await?)),
            Request::Page(request) => {
                let (rows, stats) = engine.page(*request, provider).await?;
                Ok(Reply::Rows(rows, stats))
            }
            Request::Check(request) => Ok(Reply::Checked(engine.check(*request, provider).await?)),
            Request::Aggregate(request) => {
                let Aggregated { count, facets, stats } = engine.aggregate(*request, provider).await?;
                Ok(Reply::Aggregated { count, facets, stats })
            }
            Request::TextAnalysis(question) => Ok(Reply::Analysis(engine.text_analysis(*question).await?)),
            Request::Warm(view) => {
                let Warmed { objects, bytes } = engine.warm(*view, provider).await?;
                Ok(Reply::Warmed { objects, bytes })
            }
            Request::Hello { .. } | Request::Provide { .. } => {
                Err(Error::internal("the socket server handles this request itself"))
            }
        }
    }
}
