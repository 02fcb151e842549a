//! Every promise by name, and the tests that they become.

/// Makes a test of each promise of the five ports, told to the adapter that the fixture opens.
///
/// Expands to a module a file of this crate; the crate that uses it needs tokio with its macros. One
/// file may be told alone, as `contract_tests!(MyFixture, log)`.
#[macro_export]
macro_rules! contract_tests {
    ($fixture:ty) => {
        $crate::contract_tests!($fixture, log);
        $crate::contract_tests!($fixture, consumer);
        $crate::contract_tests!($fixture, store);
        $crate::contract_tests!($fixture, rows);
        $crate::contract_tests!($fixture, pages);
        $crate::contract_tests!($fixture, operate);
        $crate::contract_tests!($fixture, counters);
        $crate::contract_tests!($fixture, keys);
        $crate::contract_tests!($fixture, signals);
        $crate::contract_tests!($fixture, search);
        $crate::contract_tests!($fixture, repair);
        $crate::contract_tests!($fixture, apply);
        $crate::contract_tests!($fixture, life);
    };
    ($fixture:ty, log) => {
        $crate::contract_tests!(@port $fixture, log:
            a_record_is_read_as_it_was_appended
            the_largest_record_fits
            a_record_that_is_too_large_is_refused
            records_of_a_key_stay_in_order
            appends_at_once_get_a_place_each
            topics_are_apart
            a_key_has_one_partition
            the_range_is_what_there_is
            ranges_are_told_at_once
            reading_goes_on_from_any_offset
            records_survive_a_restart
            offsets_go_on_after_a_restart
            the_epoch_stands
            giving_up_on_an_append_is_harmless
            the_log_answers
        );
    };
    ($fixture:ty, consumer) => {
        $crate::contract_tests!(@port $fixture, consumer:
            a_consumer_seeks_before_it_reads
            a_consumer_reads_on
            a_consumer_seeks_again
            a_poll_keeps_its_limits
            a_backlog_comes_in_batches
            what_waits_is_part_of_the_order
            a_poll_waits_for_news
            an_append_ends_a_wait
            groups_read_apart
            a_partition_has_one_reader
            leaving_hands_over
            committing_moves_nobody
            members_are_counted
        );
    };
    ($fixture:ty, store) => {
        $crate::contract_tests!(@port $fixture, store:
            nothing_is_seen_before_the_commit
            dropping_takes_everything_back
            a_call_that_is_dropped_harms_nothing
            the_position_moves_with_the_rows
            positions_are_apart
            positions_are_told_at_once
            positions_move_together
            a_free_transaction_moves_no_position
            a_partition_has_one_transaction
            rows_that_were_read_stay_locked
            a_transaction_reads_its_own_writes
            a_transaction_may_be_large
            rows_survive_a_restart
            the_store_answers
        );
    };
    ($fixture:ty, rows) => {
        $crate::contract_tests!(@port $fixture, rows:
            rows_come_back_as_they_were_written
            texts_come_back_byte_for_byte
            an_insert_never_replaces
            an_update_replaces_the_row
            a_key_is_put_over_an_older_one
            rows_are_found_by_key
            nothing_is_a_fine_question
            applications_are_apart
        );
    };
    ($fixture:ty, pages) => {
        $crate::contract_tests!(@port $fixture, pages:
            a_page_of_messages_is_in_order
            pages_of_chats_and_applications_are_in_order
            numbers_with_a_row_are_told
            chats_with_holes_are_told
            old_keys_are_forgotten
            totals_add_up_the_counts
        );
    };
    ($fixture:ty, operate) => {
        $crate::contract_tests!(@port $fixture, operate:
            chats_are_tallied
            a_transaction_tallies_its_own_writes
            revisions_are_told
            changed_chats_are_told
            a_note_has_one_writer
            a_note_is_changed_once_at_a_time
            a_letter_is_decided_once
            many_letters_are_decided_at_once
        );
    };
    ($fixture:ty, counters) => {
        $crate::contract_tests!(@port $fixture, counters:
            numbers_begin_at_one_and_follow
            takes_at_once_share_nothing
            counters_are_apart
            what_is_missing_is_not_zero
            opening_a_chat_lowers_nothing
            restoring_lowers_nothing
            the_generation_only_rises
            numbers_do_not_wrap
            no_number_is_given_again_after_a_restart
            the_counters_answer
        );
    };
    ($fixture:ty, keys) => {
        $crate::contract_tests!(@port $fixture, keys:
            a_key_repeats_its_answer
            a_key_repeats_a_run
            a_key_is_in_flight_until_its_lease_ends
            a_key_resumes_when_its_lease_is_over
            a_released_key_resumes_at_once
            a_key_resumes_in_the_generation_of_its_counter
            one_retry_at_a_time_goes_on
            a_key_has_one_body
            keys_are_apart
            a_recovered_application_asks_the_store
            a_restored_key_repeats
            a_restored_key_replaces_its_own_answer
            an_application_repeats_its_key
            keys_in_the_log_survive_a_restart
        );
    };
    ($fixture:ty, signals) => {
        $crate::contract_tests!(@port $fixture, signals:
            a_listener_hears
            a_hint_before_the_wait_is_heard
            a_hint_wakes_a_waiter
            every_listener_hears
            leaving_disturbs_nobody
            nobody_has_to_listen
        );
    };
    ($fixture:ty, search) => {
        $crate::contract_tests!(@port $fixture, search:
            every_part_of_a_text_finds_it
            a_long_text_is_found
            metacharacters_are_ordinary
            scopes_are_apart
            the_highest_revision_stays
            what_is_staged_can_be_published
            a_tombstone_is_final
            candidates_come_in_order
            pages_put_together_are_the_whole
            documents_are_counted
            indexed_positions_stand_beside_the_documents
            a_batch_may_be_large
            batches_at_once_lose_nothing
            documents_survive_a_restart
            an_empty_index_is_fine
            the_index_answers
        );
    };
    ($fixture:ty, repair) => {
        $crate::contract_tests!(@port $fixture, repair:
            a_repair_replaces_the_same_revision
            documents_are_listed
            chats_are_counted_together
        );
    };
    ($fixture:ty, apply) => {
        $crate::contract_tests!(@port $fixture, apply:
            a_wrong_highest_number_buries_nothing
            a_create_that_cannot_be_read_keeps_its_numbers
            a_batch_of_another_log_is_a_gap
            a_message_that_makes_way_is_not_lost
            reserved_numbers_are_not_free
        );
    };
    ($fixture:ty, life) => {
        $crate::contract_tests!(@port $fixture, life:
            housekeeping_keeps_what_is_unread
            offsets_outlive_their_records
            closing_ends_everything
            positions_survive_a_restart
        );
    };
    (@port $fixture:ty, $port:ident: $($promise:ident)*) => {
        mod $port {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let fixture = <$fixture as $crate::fixture::Fixture>::fresh().await;
                    $crate::$port::$promise(&fixture).await;
                }
            )*
        }
    };
}

#[cfg(test)]
mod tests {
    /// A promise that nobody tells is none.
    #[test]
    fn every_promise_is_told() {
        let list = include_str!("list.rs");
        let files = [
            include_str!("log.rs"),
            include_str!("consumer.rs"),
            include_str!("store.rs"),
            include_str!("rows.rs"),
            include_str!("pages.rs"),
            include_str!("operate.rs"),
            include_str!("counters.rs"),
            include_str!("keys.rs"),
            include_str!("signals.rs"),
            include_str!("search.rs"),
            include_str!("repair.rs"),
            include_str!("apply.rs"),
            include_str!("life.rs"),
        ];
        for file in files {
            for line in file.lines() {
                if let Some(rest) = line.strip_prefix("pub async fn ")
                    && let Some((promise, _)) = rest.split_once("(fixture")
                {
                    let told = list.lines().any(|line| line.trim() == promise);
                    assert!(told, "{promise} is in no test");
                }
            }
        }
    }
}
