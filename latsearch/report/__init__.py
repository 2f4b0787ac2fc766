"""The report of a study: one HTML file with everything in it, to be opened without a network."""

from latsearch.report.attached import attach_report as attach_report
from latsearch.report.content import Content as Content
from latsearch.report.content import gather as gather
from latsearch.report.page import front_data as front_data
from latsearch.report.page import report_page as report_page
