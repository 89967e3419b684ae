-- Ratings and the sources of preference pairs are browsed.

CREATE INDEX exchanges_by_rating ON exchanges (rating, id) WHERE rating IS NOT NULL;
CREATE INDEX preferences_by_source ON preferences (source, id);
