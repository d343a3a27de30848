-- One row per person and curriculum: the enrolment with the newest id, which is the one that counts. The API can replace an enrolment
-- by one with a new id.
--  id: Number that the API uses for the enrolment.
--  user_id: The person (user.id), perhaps one without a row in users, such as an alumnus.
--  cursus_id: In cursus: 21 is the common core.
--  begin_at: Since when the person is in it, perhaps in the future.
--  end_at: When it ended, or will. NULL: no end is set, which does not prove a student.
--  grade: Rank by level, such as Cadet or Member.
--  level: Experience; the fraction is the way to the next whole one.
--  skills: What the experience is in: an array of objects with id, name, level.
--  has_coalition: Whether coalitions exist for it.
--  blackholed_at: The blackhole: by then something must be validated, or the person leaves. NULL: no such date.
--  created_at: When it was made at the API.
--  updated_at: When it last changed at the API; levels do not move it.
--  ingested_at: When this row last changed in the mirror.
SELECT e.id, e.user_id, e.cursus_id, e.begin_at, e.end_at, e.grade, e.level, e.skills, e.has_coalition, e.blackholed_at,
    e.created_at, e.updated_at, e.ingested_at
FROM cursus_users AS e
WHERE NOT EXISTS (
    SELECT FROM cursus_users AS newer
    WHERE newer.user_id = e.user_id AND newer.cursus_id = e.cursus_id AND newer.id > e.id
)
