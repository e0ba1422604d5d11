"""Tell a run to people: one self-contained page, and the pictures on it."""

from weakseg.report.bars import Bar as Bar
from weakseg.report.bars import Bars as Bars
from weakseg.report.charts import Mark as Mark
from weakseg.report.markdown import Document as Document
from weakseg.report.markdown import Section as Section
from weakseg.report.markdown import as_markdown as as_markdown
from weakseg.report.markdown import write_markdown as write_markdown
from weakseg.report.page import Card as Card
from weakseg.report.page import PanelRow as PanelRow
from weakseg.report.page import Plots as Plots
from weakseg.report.page import Report as Report
from weakseg.report.page import Table as Table
from weakseg.report.page import write_report as write_report
from weakseg.report.pictures import comparison as comparison
from weakseg.report.pictures import heatmap as heatmap
from weakseg.report.pictures import overlay as overlay
from weakseg.report.pictures import panel_sheet as panel_sheet
from weakseg.report.pictures import shrink as shrink
from weakseg.report.scatter import Dot as Dot
from weakseg.report.scatter import Level as Level
from weakseg.report.scatter import Scatter as Scatter
