//! A backup: one cut through all logs of this shard, kept from going until it is copied.
//!
//! In two steps, so that the cuts of all shards fit together. A dead letter is committed on one shard before the record
//! that it stands for is settled on another. In the first step every shard stops settling such records; the cut of each
//! comes after that of none. So whatever a cut shows as settled is in the cut of the shard that has the letter.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Core;
use super::ask::{Answer, BackupStep};
use super::refusal::Refusal;
use super::stats::Reason;
use crate::model::{Instant, Limits, Lsn};
use crate::protocol::ErrorCode;
use crate::wal::Cut;

/// The backup under way, if there is one.
#[derive(Debug, Default)]
pub struct Backup {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    id: String,
    /// Without another word by then, it is over.
    until: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Burials that were answered wait: whether they went well.
    Holding {
        buried: Vec<(u64, bool)>,
    },
    /// The logs are to be cut as soon as each of them can be; then the question with this token is answered.
    Cutting {
        token: u64,
        buried: Vec<(u64, bool)>,
    },
    /// They are cut, and the cuts are not yet durable.
    Syncing {
        token: u64,
        cuts: Vec<Cut>,
    },
    Copying {
        cuts: Vec<Cut>,
    },
}

impl Core {
    pub(super) fn backup(&mut self, token: u64, id: &str, step: BackupStep) {
        let answer = match step {
            BackupStep::Hold => self.hold_for_backup(id),
            BackupStep::Cut => return self.begin_cut(token, id),
            BackupStep::Renew => self.renew_backup(id),
            BackupStep::End => self.end_known(id),
        };
        self.answer_admin(token, answer.map(|()| Answer::Done));
    }

    fn hold_for_backup(&mut self, id: &str) -> Result<(), Refusal> {
        if self.drain.is_on() {
            return Err(Refusal::draining());
        }
        if self.backup.running.is_some() {
            return Err(conflict("a backup is under way"));
        }
        let stage = Stage::Holding { buried: Vec::new() };
        self.backup.running = Some(Running { id: id.to_owned(), until: self.lease(), stage });
        Ok(())
    }

    fn lease(&self) -> Instant {
        self.now + Limits::BACKUP_LEASE
    }

    fn known_backup(&mut self, id: &str) -> Result<&mut Running, Refusal> {
        let running = self.backup.running.as_mut().filter(|running| running.id == id);
        running.ok_or_else(|| Refusal::unknown("no such backup, or its time is up"))
    }

    fn renew_backup(&mut self, id: &str) -> Result<(), Refusal> {
        let until = self.lease();
        self.known_backup(id)?.until = until;
        Ok(())
    }

    fn end_known(&mut self, id: &str) -> Result<(), Refusal> {
        self.known_backup(id)?;
        self.end_backup();
        Ok(())
    }

    fn begin_cut(&mut self, token: u64, id: &str) {
        let until = self.lease();
        let running = match self.known_backup(id) {
            Ok(running) => running,
            Err(refusal) => return self.answer_admin(token, Err(refusal)),
        };
        running.until = until;
        match &mut running.stage {
            Stage::Holding { buried } => {
                let buried = std::mem::take(buried);
                running.stage = Stage::Cutting { token, buried };
                self.poll_backup();
            }
            _ => self.answer_admin(token, Err(conflict("the logs are cut already"))),
        }
    }

    /// Whether a burial's answer has to wait. Bounded by the burials there are.
    pub(super) fn holds_burial(&mut self, grave: u64, ok: bool) -> bool {
        let Some(Running { stage: Stage::Holding { buried } | Stage::Cutting { buried, .. }, .. }) =
            &mut self.backup.running
        else {
            return false;
        };
        buried.push((grave, ok));
        true
    }

    /// Goes on with a backup: all logs are cut in one step; when that is durable, it is told.
    pub(super) fn poll_backup(&mut self) {
        let Some(running) = &mut self.backup.running else { return };
        if let Stage::Cutting { token, buried } = &mut running.stage {
            let (token, buried) = (*token, std::mem::take(buried));
            self.cut_logs(token, buried);
        }
        let Some(Running { stage: Stage::Syncing { token, cuts }, .. }) = &mut self.backup.running else { return };
        let synced = |cut: &Cut| self.logs.iter().any(|log| log.id == cut.log && log.log.synced() >= cut.end);
        if cuts.iter().all(synced) {
            let (token, cuts) = (*token, std::mem::take(cuts));
            let told: Vec<Value> = cuts.iter().map(told).collect();
            log::info!("backup: {} logs are cut, their segments stay until they are copied", cuts.len());
            self.backup.running.as_mut().expect("just seen").stage = Stage::Copying { cuts };
            self.answer_admin(token, Ok(Answer::Object(json!({ "logs": told }))));
        }
    }

    /// All or none, in one step, with every cursor where it is now.
    fn cut_logs(&mut self, token: u64, buried: Vec<(u64, bool)>) {
        self.log_cursors();
        let cuts: Vec<Option<Cut>> = self.logs.iter_mut().map(|log| log.log.cut()).collect();
        if cuts.iter().any(Option::is_none) {
            for (log, cut) in self.logs.iter_mut().zip(cuts.iter().flatten()) {
                log.log.release(cut);
            }
            self.backup.running.as_mut().expect("it cuts").stage = Stage::Cutting { token, buried };
            return;
        }
        let cuts = cuts.into_iter().flatten().collect();
        self.backup.running.as_mut().expect("it cuts").stage = Stage::Syncing { token, cuts };
        buried.into_iter().for_each(|(grave, ok)| self.grave_closed(grave, ok));
    }

    /// Whoever copied has not been heard of for too long: nothing is kept for them any more.
    pub(super) fn forget_backup(&mut self) {
        if self.backup.running.as_ref().is_some_and(|running| running.until <= self.now) {
            log::warn!("a backup was not ended, and has not been renewed in time: it is over");
            self.end_backup();
        }
    }

    fn end_backup(&mut self) {
        let Some(running) = self.backup.running.take() else { return };
        let unknown = || Err(Refusal::unknown("the backup is over"));
        match running.stage {
            Stage::Holding { buried } => self.let_go(buried),
            Stage::Cutting { token, buried } => {
                self.answer_admin(token, unknown());
                self.let_go(buried);
            }
            Stage::Syncing { token, cuts } => {
                self.answer_admin(token, unknown());
                self.release_cuts(&cuts);
            }
            Stage::Copying { cuts } => self.release_cuts(&cuts),
        }
    }

    fn let_go(&mut self, buried: Vec<(u64, bool)>) {
        buried.into_iter().for_each(|(grave, ok)| self.grave_closed(grave, ok));
    }

    fn release_cuts(&mut self, cuts: &[Cut]) {
        for cut in cuts {
            if let Some(log) = self.logs.iter_mut().find(|log| log.id == cut.log) {
                log.log.release(cut);
            }
        }
    }
}

fn told(cut: &Cut) -> Value {
    json!({
        "log": cut.log.0,
        "end": cut.end.0,
        "segment_size": cut.segment_size,
        "segments": cut.segments.iter().map(|Lsn(first)| first).collect::<Vec<_>>(),
        "checkpoint": STANDARD.encode(&cut.checkpoint),
    })
}

fn conflict(text: &'static str) -> Refusal {
    Refusal::new(ErrorCode::Conflict, Reason::BadRequest, text)
}
