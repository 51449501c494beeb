import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('batches', '0005_daily_usage'),
    ]

    operations = [
        migrations.AddField(
            model_name='batch',
            name='retry_of',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='batches.batch'),
        ),
    ]
