//! A crash at every failpoint: the real program aborts there, is started again, and keeps its promises.
//!
//! `cargo test -p chat-server --features failpoints --test it failpoints` runs them on the embedded default, and
//! on the engines where their four URLs are set. A failpoint that is never reached fails its test.

mod check;
mod child;
mod damage;
mod data;
mod drive;

use std::path::Path;

use chat_core::failpoint::{Failpoint, Place};

use self::check::Checked;
use self::child::{Child, End};
use self::damage::Damage;
use self::drive::Ledger;
use crate::mode;

/// What has to be done so that a failpoint is reached.
struct Plan {
    /// The process aborts when the failpoint is reached for the so-manieth time, once for each of these.
    counts: &'static [u32],
    /// What is done to the data before the start, once for each of these.
    damages: &'static [Damage],
}

/// The first create, and one among others.
const CREATE: &[u32] = &[1, 9];
const NOTHING: &[Damage] = &[Damage::Nothing];

const fn plan(point: Failpoint) -> Plan {
    use Failpoint as Point;
    let (counts, damages): (&'static [u32], &'static [Damage]) = match point {
        Point::ApplicationKeyCounter
        | Point::ApplicationOpenAppend
        | Point::ApplicationAppendAcknowledge
        | Point::ChatTakeAppend
        | Point::ChatAppendOpen
        | Point::ChatOpenAcknowledge
        | Point::MessageTakeAppend
        | Point::MessageAppendAcknowledge
        | Point::MessageAcknowledgeAnswer => (CREATE, NOTHING),
        Point::LogQueueCommit | Point::LogCommitAnswer => (&[1, 2, 30], NOTHING),
        Point::ApplicationsWriteCommit
        | Point::ChatsWriteCommit
        | Point::MessagesWriteCommit
        | Point::ApplyCommitSignal
        | Point::BatchDoneOffset
        | Point::IndexStagePublish
        | Point::IndexPublishPosition
        | Point::IndexWriteCommit => (&[1, 4], NOTHING),
        Point::RenumberTakeApply => (&[1], &[Damage::Collision]),
        Point::BurialNoteAppend | Point::BurialAppendPosition => {
            (&[1], &[Damage::Garbage, Damage::Refused])
        }
        Point::ReplayClaimAppend | Point::ReplayAppendNote => (&[1], &[Damage::Letter]),
        Point::VoidWriteCommit | Point::VoidCommitSignal => (&[1], &[Damage::Gap]),
        Point::RecoveryReadRestore
        | Point::RecoveryClaimRefill
        | Point::RecoveryGenerationRestore => (&[1, 2], &[Damage::NoCounters]),
        Point::EpochWriteCommit | Point::EpochStoreLog => (&[1], &[Damage::OtherLog]),
        Point::RebuildFillRemove | Point::RebuildRemoveMove => (&[1], &[Damage::NoIndex]),
        Point::PruneDeleteCommit => (&[1], &[Damage::OldLog]),
        Point::CountWriteCommit => (&[1], &[Damage::WrongCount]),
    };
    Plan { counts, damages }
}

fn is_reached(place: Place) -> bool {
    match place {
        Place::Both => true,
        Place::Embedded => !mode::on_engines(),
        Place::Engines => mode::on_engines(),
    }
}

/// Prepares data, crashes at the failpoint, starts again and holds everything against what was acknowledged.
#[expect(
    clippy::print_stdout,
    reason = "what was compared is a part of the answer"
)]
async fn crash(point: Failpoint) {
    if !is_reached(point.place()) {
        return;
    }
    let Plan { counts, damages } = plan(point);
    for damage in damages {
        for count in counts {
            let data = tempfile::tempdir().unwrap();
            let armed = format!("{}:{count}", point.name());
            let checked = crash_once(data.path(), point, &armed, *damage).await;
            println!("{armed} after {damage:?}: {checked}");
        }
    }
}

async fn crash_once(data: &Path, point: Failpoint, armed: &str, damage: Damage) -> Checked {
    let ledger = Ledger::default();
    mode::prepare(&Child::config(data)).await.unwrap();
    let child = Child::start(data).await.expect("a first start");
    let old = drive::prepare(&child, &ledger).await;
    child.stop().await;
    let expected = damage.inflict(data, &old).await;

    let end = match Child::armed(data, armed, damage.flags()).await {
        Ok(child) => drive::until_the_end(child, &ledger, &old, damage).await,
        Err(end) => end,
    };
    assert!(end.is_of(point), "{armed} is not what ended it: {end:?}");

    damage.repair(data).await;
    let child = Child::start(data).await.expect("a start after the crash");
    damage.settle(&child, data, &expected).await;
    let checked = check::promises(&child, &ledger, &expected).await;
    child.stop().await;
    checked
}

macro_rules! crashes {
    ($($test:ident: $point:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                crash(Failpoint::$point).await;
            }
        )*

        #[test]
        fn every_failpoint_has_its_crash() {
            let tested = [$(Failpoint::$point),*];
            assert_eq!(tested, Failpoint::ALL);
        }
    };
}

crashes! {
    crash_at_application_key_counter: ApplicationKeyCounter,
    crash_at_application_open_append: ApplicationOpenAppend,
    crash_at_application_append_acknowledge: ApplicationAppendAcknowledge,
    crash_at_chat_take_append: ChatTakeAppend,
    crash_at_chat_append_open: ChatAppendOpen,
    crash_at_chat_open_acknowledge: ChatOpenAcknowledge,
    crash_at_message_take_append: MessageTakeAppend,
    crash_at_message_append_acknowledge: MessageAppendAcknowledge,
    crash_at_message_acknowledge_answer: MessageAcknowledgeAnswer,
    crash_at_log_queue_commit: LogQueueCommit,
    crash_at_log_commit_answer: LogCommitAnswer,
    crash_at_applications_write_commit: ApplicationsWriteCommit,
    crash_at_chats_write_commit: ChatsWriteCommit,
    crash_at_messages_write_commit: MessagesWriteCommit,
    crash_at_apply_commit_signal: ApplyCommitSignal,
    crash_at_batch_done_offset: BatchDoneOffset,
    crash_at_renumber_take_apply: RenumberTakeApply,
    crash_at_index_stage_publish: IndexStagePublish,
    crash_at_index_publish_position: IndexPublishPosition,
    crash_at_index_write_commit: IndexWriteCommit,
    crash_at_burial_note_append: BurialNoteAppend,
    crash_at_burial_append_position: BurialAppendPosition,
    crash_at_replay_claim_append: ReplayClaimAppend,
    crash_at_replay_append_note: ReplayAppendNote,
    crash_at_void_write_commit: VoidWriteCommit,
    crash_at_void_commit_signal: VoidCommitSignal,
    crash_at_recovery_read_restore: RecoveryReadRestore,
    crash_at_recovery_claim_refill: RecoveryClaimRefill,
    crash_at_recovery_generation_restore: RecoveryGenerationRestore,
    crash_at_epoch_write_commit: EpochWriteCommit,
    crash_at_epoch_store_log: EpochStoreLog,
    crash_at_rebuild_fill_remove: RebuildFillRemove,
    crash_at_rebuild_remove_move: RebuildRemoveMove,
    crash_at_prune_delete_commit: PruneDeleteCommit,
    crash_at_count_write_commit: CountWriteCommit,
}

#[tokio::test(flavor = "multi_thread")]
async fn failpoints_are_listed_and_a_wrong_one_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let listed = child::command(data.path()).arg("failpoints").output();
    let listed = String::from_utf8(listed.await.unwrap().stdout).unwrap();
    let names: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.split('\t').next())
        .collect();
    let all: Vec<&str> = Failpoint::ALL.iter().map(|point| point.name()).collect();
    assert_eq!(names, all);
    let refused: Option<End> = Child::armed(data.path(), "nowhere", &[]).await.err();
    let refused = refused.expect("there is no such failpoint");
    assert!(
        refused.said.contains("there is no failpoint \"nowhere\""),
        "{refused:?}"
    );
}
