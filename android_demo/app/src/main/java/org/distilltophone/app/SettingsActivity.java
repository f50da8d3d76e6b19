package org.distilltophone.app;

import android.app.Activity;
import android.content.SharedPreferences;
import android.os.Bundle;
import android.widget.RadioGroup;
import android.widget.SeekBar;
import android.widget.TextView;
import android.widget.Toolbar;

/** Settings of threads, delegate and number of results. Changes apply from the next search on. */
public final class SettingsActivity extends Activity {
    /** A row with a slider and a label that shows its value. */
    private final class Slider implements SeekBar.OnSeekBarChangeListener {
        private final TextView label;
        private final int words;
        private final String key;
        private final int lowest;

        Slider(int bar, int label, int words, String key, int lowest, int highest, int value) {
            this.label = findViewById(label);
            this.words = words;
            this.key = key;
            this.lowest = lowest;
            SeekBar seek = findViewById(bar);
            seek.setSaveEnabled(false); // the settings store it
            seek.setMax(highest - lowest);
            seek.setProgress(value - lowest);
            seek.setOnSeekBarChangeListener(this);
            this.label.setText(getString(words, value));
        }

        @Override
        public void onProgressChanged(SeekBar bar, int progress, boolean byUser) {
            label.setText(getString(words, progress + lowest));
            kept.edit().putInt(key, progress + lowest).apply();
        }

        @Override
        public void onStartTrackingTouch(SeekBar bar) {}

        @Override
        public void onStopTrackingTouch(SeekBar bar) {}
    }

    private SharedPreferences kept;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.settings);
        setActionBar((Toolbar) findViewById(R.id.bar));
        getActionBar().setDisplayHomeAsUpEnabled(true);
        kept = Settings.preferences(this);
        Settings now = Settings.read(this);
        RadioGroup delegate = findViewById(R.id.delegate);
        delegate.check(now.delegate.equals(Settings.PLAIN) ? R.id.delegate_plain
            : now.delegate.equals(Settings.NNAPI) ? R.id.delegate_nnapi : R.id.delegate_xnnpack);
        delegate.setOnCheckedChangeListener(new RadioGroup.OnCheckedChangeListener() {
            @Override
            public void onCheckedChanged(RadioGroup group, int checked) {
                kept.edit().putString("delegate", checked == R.id.delegate_plain ? Settings.PLAIN
                    : checked == R.id.delegate_nnapi ? Settings.NNAPI : Settings.XNNPACK).apply();
            }
        });
        new Slider(R.id.threads, R.id.threads_label, R.string.settings_threads, "threads", 1, Settings.MAX_THREADS, now.threads);
        new Slider(R.id.results, R.id.results_label, R.string.settings_results, "results", Settings.MIN_RESULTS,
            Settings.MAX_RESULTS, now.results);
    }

    @Override
    public boolean onNavigateUp() {
        finish();
        return true;
    }
}
