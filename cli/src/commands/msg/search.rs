//! `msg search`.

use chat_client::pages::walk;
use chat_client::search::Query;
use chat_wire::search::{Hit, Sort};
use clap::builder::PossibleValuesParser;
use clap::{Args, builder::TypedValueParser};

use crate::commands::limit::Limit;
use crate::error::Error;
use crate::output::text::grouped;
use crate::session::Session;

/// Find messages that contain a text, in one chat or, without --chat, in the whole application
///
/// Any part of a body is found, of any length and in any script, whatever the case and the
/// accents. Every character stands for itself; there are no wildcards.
#[derive(Debug, Args)]
pub(crate) struct Search {
    /// Text to find
    #[arg(allow_hyphen_values = true)]
    text: String,
    /// Most hits to show, or all
    #[arg(long, value_name = "COUNT", default_value = "20")]
    limit: Limit,
    /// Order of the hits: latest first, or by chat and number
    #[arg(long, value_name = "ORDER", default_value = "newest",
        value_parser = PossibleValuesParser::new(["newest", "number"]).map(|name| sort(&name)))]
    sort: Sort,
}

fn sort(name: &str) -> Sort {
    match name {
        "number" => Sort::Number,
        _ => Sort::Newest,
    }
}

impl Search {
    pub(crate) async fn run(self, session: &mut Session) -> Result<(), Error> {
        let token = session.app(None)?;
        let client = session.client()?;
        let mut query = Query {
            text: self.text,
            chat: session.settings.chat,
            sort: self.sort,
            limit: self.limit.page(),
            cursor: None,
        };
        let mut limit = self.limit;
        let mut more = false;
        let mut lag_records = 0;
        let mut list = session.out.list::<Hit>();
        walk(
            None,
            async |cursor| {
                query.cursor = cursor;
                client.search(token, &query).await
            },
            |page| {
                if !page.complete {
                    lag_records = page.lag_records;
                }
                for hit in &page.hits {
                    if !limit.take() {
                        more = true;
                        return Ok::<_, Error>(false);
                    }
                    list.push(hit)?;
                }
                more = page.next_cursor.is_some();
                Ok(limit.left() > 0)
            },
        )
        .await?;
        list.finish()?;
        if lag_records > 0 {
            let records = grouped(lag_records);
            session.remark(&format!(
                "not searchable yet: {records} log record(s); search again for what is in them"
            ));
        }
        if more {
            session.remark("there are more hits: give --limit all");
        }
        Ok(())
    }
}
