//! Something people can go to.

use sea_orm::entity::prelude::*;
use serde::{Deserialize, Serialize};

#[sea_orm::model]
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "events")]
pub struct Model {
    #[sea_orm(primary_key)]
    pub id: i64,
    pub title: String,
    #[sea_orm(column_type = "Text")]
    pub description: String,
    pub status: Status,
    pub start_date: TimeDateTimeWithTimeZone,
    pub end_date: TimeDateTimeWithTimeZone,
    /// How many tickets there are.
    pub capacity: i32,
    /// How many of them are sold; kept here so that one conditional UPDATE can never oversell.
    pub tickets_sold: i32,
    pub organizer_id: i64,
    pub venue_id: i64,
    #[sea_orm(belongs_to, from = "organizer_id", to = "id")]
    pub organizer: BelongsTo<super::organizer::Entity>,
    #[sea_orm(belongs_to, from = "venue_id", to = "id")]
    pub venue: BelongsTo<super::venue::Entity>,
    #[sea_orm(has_many)]
    pub tickets: HasMany<super::ticket::Entity>,
}

impl ActiveModelBehavior for ActiveModel {}

/// Where an event stands between idea and evening.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, EnumIter, DeriveActiveEnum, Serialize, Deserialize,
)]
#[sea_orm(
    rs_type = "String",
    db_type = "String(StringLen::N(16))",
    rename_all = "lowercase"
)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Draft,
    Published,
    Cancelled,
}
