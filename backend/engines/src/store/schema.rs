//! How the database is reached, and how its tables are made.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use chat_core::port::store;
use sqlx::migrate::{MigrateDatabase, MigrateError, Migrator};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};
use sqlx::{ConnectOptions, Connection, Executor, MySql, MySqlConnection};

use super::failure::{self, UNKNOWN_VARIABLE};
use super::pool::Pool;
use crate::error::Error;

const SETTING: &str = "DATABASE_URL";
/// How long a first connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// More than the different statements there are, so that each is prepared once a connection.
const STATEMENTS: usize = 200;
/// How long `migrate` waits for another one.
const MIGRATION_LOCK: &str = "SELECT GET_LOCK(CONCAT('chat-migrate.', DATABASE()), 60)";
/// Every session, before its first use:
/// - READ COMMITTED: whatever decides is read under lock or was written once, so a snapshot gives
///   nothing, and without one InnoDB takes no gap locks, which are what parallel inserts deadlock on;
/// - 3 s for a lock, after which a frozen owner is ended (invariant: frozen-owner);
/// - strict mode, so that nothing is stored cut off or replaced.
const SESSION: &str = "SET SESSION transaction_isolation = 'READ-COMMITTED', \
                       innodb_lock_wait_timeout = 3, \
                       sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE'";
/// The same where the variable has the older name, as on MariaDB before 11.1.
const SESSION_OLDER: &str = "SET SESSION tx_isolation = 'READ-COMMITTED', \
                             innodb_lock_wait_timeout = 3, \
                             sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE'";

/// Opens a pool, with one connection tried.
///
/// # Errors
/// See [`told`].
pub(super) async fn pool(url: &str, connections: u32) -> Result<Arc<Pool>, Error> {
    let options = options(url)?;
    let first = tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await;
    let mut first = first
        .map_err(|_| not_up(&options, "no answer"))?
        .map_err(|error| told(&options, &error))?;
    prepare(&mut first)
        .await
        .map_err(|error| told(&options, &error))?;
    // The goodbye is a courtesy.
    let _ = first.close().await;
    let pool = Pool::new(options.clone(), connections);
    match pool.acquire().await {
        Ok((connection, _place)) => pool.put(connection),
        Err(store::Error::Unavailable(reason)) => {
            return Err(Error::not_up(
                SETTING,
                reason,
                "see the server's log, or give the address of the primary",
            ));
        }
        Err(error) => return Err(not_up(&options, &error.to_string())),
    }
    Ok(pool)
}

/// Prepares a session.
pub(super) async fn prepare(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    match connection.execute(SESSION).await {
        Err(error) if failure::number(&error) == Some(UNKNOWN_VARIABLE) => {
            connection.execute(SESSION_OLDER).await?;
        }
        other => {
            other?;
        }
    }
    Ok(())
}

/// Makes the database where it is missing, and brings its tables up to date.
///
/// # Errors
/// See [`told`].
pub(super) async fn migrate(url: &str) -> Result<(), Error> {
    let options = options(url)?;
    let exists = tokio::time::timeout(CONNECT_TIMEOUT, MySql::database_exists(url)).await;
    let exists = exists
        .map_err(|_| not_up(&options, "no answer"))?
        .map_err(|error| told(&options, &error))?;
    if !exists {
        MySql::create_database(url)
            .await
            .map_err(|error| told(&options, &error))?;
    }
    let mut connection = options
        .connect()
        .await
        .map_err(|error| told(&options, &error))?;
    // sqlx's own lock does not hold on MariaDB, and waits for ever where it does.
    let locked: Option<i64> = sqlx::query_scalar(MIGRATION_LOCK)
        .fetch_one(&mut connection)
        .await
        .map_err(|error| told(&options, &error))?;
    if locked != Some(1) {
        return Err(Error::not_up(
            SETTING,
            "another `chatd migrate` is at work for a minute",
            "wait for it",
        ));
    }
    let mut migrator = migrator();
    migrator.set_locking(false);
    let pool = MySqlPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options.clone());
    let migrated = migrator.run(&pool).await;
    pool.close().await;
    // The lock ends with the connection.
    let _ = connection.close().await;
    migrated.map_err(|error| match error {
        MigrateError::Execute(error) => told(&options, &error),
        other => Error::wrong(
            SETTING,
            format!("the tables of the database are not those of this program: {other}"),
            "use the program that made them, or a newer one, or another database",
        ),
    })
}

fn migrator() -> Migrator {
    sqlx::migrate!("../../migrations/mysql")
}

/// The migrations that this program knows.
pub(super) fn versions() -> Vec<i64> {
    migrator().iter().map(|one| one.version).collect()
}

fn options(url: &str) -> Result<MySqlConnectOptions, Error> {
    // An error of the parser may repeat the URL, and with it the password.
    let options = MySqlConnectOptions::from_str(url).map_err(|_| {
        Error::wrong(
            SETTING,
            "it is no URL of a MySQL database",
            "write mysql://USER:PASSWORD@HOST:PORT/DATABASE",
        )
    })?;
    if options.get_database().is_none_or(str::is_empty) {
        return Err(Error::wrong(
            SETTING,
            "it names no database",
            "write mysql://USER:PASSWORD@HOST:PORT/DATABASE",
        ));
    }
    Ok(options
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging())
}

fn not_up(options: &MySqlConnectOptions, problem: &str) -> Error {
    let place = format!("{}:{}", options.get_host(), options.get_port());
    Error::not_up(
        SETTING,
        format!("{problem} at {place}"),
        "start the database, or correct host and port",
    )
}

/// An error of opening, with the setting and the remedy.
fn told(options: &MySqlConnectOptions, error: &sqlx::Error) -> Error {
    let user = options.get_username();
    let database = options.get_database().unwrap_or_default();
    match failure::number(error) {
        Some(1044 | 1045 | 1698) => Error::wrong(
            SETTING,
            format!("the database refuses user '{user}'"),
            "correct user and password, and grant it all rights on the database",
        ),
        Some(1049) => Error::not_up(
            SETTING,
            format!("there is no database '{database}'"),
            "run `chatd migrate`, or correct the name",
        ),
        Some(1142 | 1227) => Error::wrong(
            SETTING,
            format!("user '{user}' may not do what is needed: {error}"),
            "grant it all rights on the database",
        ),
        // The server has its word, and may say another one soon.
        Some(_) => Error::not_up(
            SETTING,
            format!("the database answers: {error}"),
            "see the server's log",
        ),
        None => not_up(options, &error.to_string()),
    }
}
