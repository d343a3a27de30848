-- One row per student and project that the student works on or has validated: whom to ask. standing is in_progress or validated,
-- location the seat (NULL: not logged in), as of the last read of people. Ask for one project, by its slug.
--  project_id: What the person works on or has validated, in projects.
--  slug: The same in addresses, such as 42cursus-libft.
--  user_id: The person, in users.
--  login: Name on the intranet.
--  campus_id: The primary one of the person.
--  standing: validated or in_progress.
--  status: Of the last attempt: in_progress, waiting_for_correction, finished and others.
--  final_mark: 0 to 125, or below as a sanction. NULL: none yet.
--  marked_at: When it was given.
--  location: Where the person sits. NULL: not logged in.
SELECT p.id AS project_id, p.slug, u.id AS user_id, u.login, u.campus_id,
    CASE WHEN e.validated THEN 'validated' ELSE 'in_progress' END AS standing,
    e.status, e.final_mark, e.marked_at, u.location
FROM current_enrolments AS e
JOIN projects AS p ON p.id = e.project_id
JOIN users AS u ON u.id = e.user_id
WHERE e.validated
    OR e.status IN ('in_progress', 'searching_a_group', 'creating_group', 'waiting_for_correction')
