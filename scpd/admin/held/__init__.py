"""A look at what is held: patients, studies, series, instances, for somebody who has the token."""
