//! Applying `application.*`.

use crate::apply::{Applications, Decoded, Keys, Report};
use crate::event::Event;
use crate::port::signals::Subject;
use crate::port::store::{Error, KeyRow, Presence, Transaction, Writes};

pub(super) async fn apply(
    tx: &mut dyn Transaction,
    records: &[&Decoded],
    report: &mut Report,
) -> Result<Writes, Error> {
    let tokens = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::ApplicationCreated(event) => Some(event.application_token),
            Event::ApplicationRenamed(event) => Some(event.application_token),
            _ => None,
        })
        .collect();
    let mut applications = Applications::lock(tx, tokens).await?;
    let hashes = records.iter().filter_map(|record| match &record.event {
        Event::ApplicationCreated(event) => Some(event.key?.hash),
        _ => None,
    });
    let mut keys = Keys::load(tx, hashes.collect()).await?;
    let mut writes = Writes::default();

    for record in records {
        match &record.event {
            Event::ApplicationCreated(event) => {
                let row = applications.touch(event.application_token, event.created_at);
                if row.presence == Presence::Live {
                    report.repeated += 1;
                    continue;
                }
                row.presence = Presence::Live;
                row.created_at = event.created_at;
                // A rename that came first has set the name already.
                if row.revision == 0 {
                    row.name.clone_from(&event.name);
                    row.updated_at = event.created_at;
                    row.revision = record.revision;
                }
                if let Some(key) = event.key {
                    let row = KeyRow {
                        key,
                        token: event.application_token,
                        first: 0,
                        count: 0,
                        uid: record.uid,
                        generation: event.generation,
                        created_at: event.created_at,
                    };
                    keys.put(row, &mut writes, report);
                }
                report.created += 1;
                report
                    .subjects
                    .push(Subject::Application(event.application_token));
            }
            Event::ApplicationRenamed(event) => {
                let row = applications.touch(event.application_token, event.at);
                if row.revision >= record.revision {
                    report.repeated += 1;
                    continue;
                }
                row.name.clone_from(&event.name);
                row.updated_at = event.at;
                row.revision = record.revision;
                report.changed += 1;
                report
                    .subjects
                    .push(Subject::Application(event.application_token));
            }
            _ => {}
        }
    }
    applications.write(&mut writes);
    Ok(writes)
}
