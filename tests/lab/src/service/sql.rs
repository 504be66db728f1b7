//! MariaDB on a node: what is prepared there, in shell, and how the ledger is read.

use crate::guest::COLUMN;

/// The database is small, as its disk is; the server may take its time to come
/// up on a slow machine, and what the package has made lies below the group's
/// own data.
pub(super) const PREPARATION: &str = "\
printf '[mariadbd]\\nbind-address=0.0.0.0\\nskip-name-resolve\\ninnodb_log_file_size=4M\\n\
innodb_buffer_pool_size=16M\\nperformance_schema=off\\n' > /etc/mysql/mariadb.conf.d/99-lab.cnf
echo 'MYSQLD_STARTUP_TIMEOUT=240' >> /etc/default/mariadb
find /var/lib/mysql -mindepth 1 -delete
echo 409600 > /etc/lab-sectors
";

/// What its own start would make, and the ledger.
pub(super) fn filling() -> String {
    format!(
        "chown mysql:mysql /var/lib/mysql\n\
         mariadb-install-db --user=mysql --datadir=/var/lib/mysql --skip-test-db >/dev/null 2>&1\n\
         mariadbd --user=mysql --bootstrap >/dev/null 2>&1 <<END\n\
         FLUSH PRIVILEGES;\n\
         CREATE DATABASE ledger;\n\
         CREATE TABLE ledger.ledger (number BIGINT PRIMARY KEY, record CHAR({COLUMN}) NOT NULL) \
         ENGINE=InnoDB;\n\
         CREATE USER ledger@'%' IDENTIFIED BY '';\n\
         GRANT ALL ON ledger.* TO ledger@'%';\nEND\n"
    )
}

/// Prints the records from the first to the last one asked for, each in its place.
pub(super) fn reading(last: u64) -> String {
    format!(
        "mariadb --batch --skip-column-names ledger --execute=\"\
         SELECT COALESCE(record, REPEAT('0', {COLUMN})) FROM seq_1_to_{last} \
         LEFT JOIN ledger ON number = seq ORDER BY seq\""
    )
}
