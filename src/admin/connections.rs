//! Connections: list, close.

use super::paging;
use super::plan::Plan;
use super::public::Planned;
use super::response::Problem;
use super::route::Call;
use super::topics::done;
use crate::model::{ConnId, ShardId};
use crate::shard::AdminQuestion;

pub(super) fn list(call: &Call<'_>) -> Planned {
    call.serving()?;
    let page = paging::page(call.request)?;
    let question = AdminQuestion::Connections { page: paging::with_one_more(&page) };
    Ok(Plan::all(question, move |rows| Plan::Respond(paging::list(rows, page.most))))
}

pub(super) fn close(call: &Call<'_>) -> Planned {
    call.serving()?;
    let conn = parse(call.names[0]).filter(|conn| conn.shard.0 < call.context.shards);
    let conn = conn.ok_or_else(|| Problem::bad("expected an id as the list of connections has it"))?;
    Ok(Plan::one(conn.shard, AdminQuestion::CloseConnection { conn }, |_| done()))
}

/// `shard:slot.generation`, as connections are shown.
fn parse(text: &str) -> Option<ConnId> {
    let (shard, rest) = text.split_once(':')?;
    let (slot, generation) = rest.split_once('.')?;
    Some(ConnId { shard: ShardId(shard.parse().ok()?), slot: slot.parse().ok()?, generation: generation.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_as_it_is_shown() {
        let conn = ConnId { shard: ShardId(3), slot: 70_000, generation: 9 };
        assert_eq!(parse(&conn.to_string()), Some(conn));
        for wrong in ["", "1", "1:2", "1.2", "a:1.2", "1:2.3.4", "99999:1.1", "-1:0.0"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
