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
    fn connect(&self, pid: Option<i32>) -> Box<dyn Session> {
        Box::new(Connection { session: elacsym::engine::Session::new(self.0.clone()), pid })
    }
}

/// One connection.
struct Connection {
    session: elacsym::engine::Session,
    /// Who is at the other end.
    pid: Option<i32>,
}

#[async_trait]
impl Session for Connection {
    async fn handle(&mut self, request: Request, provider: &mut dyn Provider) -> Result<Reply> {
        let engine = self.session.engine().clone();
        match engine.begin(&request, self.pid) {
            Some(running) => running.run(self.answer(&engine, request, provider)).await,
            None => self.answer(&engine, request, provider).await,
        }
    }
}

impl Connection {
    async fn answer(&mut self, engine: &Engine, request: Request, provider: &mut dyn Provider) -> Result<Reply> {
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
                let (scan, part) = self.session.scan_open(*request, provider).await?;
                Ok(Reply::ScanRows { scan, rows: part.rows, exhausted: part.exhausted, stats: part.stats })
            }
            Request::ScanNext { scan, rows } => {
                let part = self.session.scan_next(scan, rows).await?;
                Ok(Reply::ScanRows { scan, rows: part.rows, exhausted: part.exhausted, stats: part.stats })
            }
            Request::ScanClose { scans } => {
                self.session.close(&scans);
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
            Request::ScorerOpen(request) => {
                Ok(Reply::ScorerOpened(self.session.scorer_open(*request, provider).await?))
            }
            Request::Corpus(request) => Ok(Reply::Corpus(engine.corpus(*request, provider).await?)),
            Request::ScoreTexts { scorer, texts } => Ok(Reply::Scores(self.session.score_texts(scorer, texts).await?)),
            Request::Page(request) => {
                let (rows, stats) = engine.page(*request, provider).await?;
                Ok(Reply::Rows(rows, stats))
            }
            Request::Check(request) => Ok(Reply::Checked(engine.check(*request, provider).await?)),
            Request::Aggregate(request) => {
                let Aggregated { count, facets, stats } = engine.aggregate(*request, provider).await?;
                Ok(Reply::Aggregated { count, facets, stats })
            }
            Request::Metrics => Ok(Reply::Metrics(engine.metrics().await)),
            Request::Activity => Ok(Reply::Activity(engine.activity())),
            Request::TextAnalysis(question) => Ok(Reply::Analysis(engine.text_analysis(*question).await?)),
            Request::Warm(view) => {
                let Warmed { objects, bytes } = engine.warm(*view, provider).await?;
                Ok(Reply::Warmed { objects, bytes })
            }
            Request::Compact(request) => Ok(Reply::CompactStarted(self.session.compact(*request)?)),
            Request::CompactPoll { compaction, wait_ms } => {
                Ok(Reply::Compacting(self.session.compact_poll(compaction, wait_ms).await?))
            }
            Request::Carry(request) => Ok(Reply::Carried(engine.carry(*request).await?)),
            Request::ListObjects { root, prefix, after, limit } => {
                Ok(Reply::Objects(engine.list_objects(&root, &prefix, after.as_deref(), limit).await?))
            }
            Request::PutMark { root, key, text } => {
                engine.put_mark(&root, &key, text).await?;
                Ok(Reply::Done)
            }
            Request::AbortUploads { root, prefix, age_seconds } => {
                engine.abort_uploads(&root, &prefix, age_seconds).await?;
                Ok(Reply::Done)
            }
            Request::Claim { root, cluster, announce } => {
                engine.claim(&root, cluster, announce).await?;
                Ok(Reply::Done)
            }
            Request::Hello { .. } | Request::Provide { .. } => {
                Err(Error::internal("the socket server handles this request itself"))
            }
        }
    }
}
