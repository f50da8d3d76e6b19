package org.distilltophone.core;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Reads facts from the FlatBuffer of a TFLite file (schema.fbs of TensorFlow Lite) without an engine. */
public final class ModelFile {
    private static final int SUBGRAPHS = 2; // field of Model, after version and operator_codes
    private static final int OPERATORS = 3; // field of SubGraph, after tensors, inputs and outputs

    private ModelFile() {}

    /** Returns the number of operators of the first subgraph; 0 if the file is damaged. */
    public static int operators(ByteBuffer file) {
        ByteBuffer in = file.duplicate().order(ByteOrder.LITTLE_ENDIAN);
        try {
            int model = in.getInt(0);
            int graphs = reference(in, field(in, model, SUBGRAPHS));
            if (graphs == 0 || in.getInt(graphs) < 1) {
                return 0;
            }
            int operators = reference(in, field(in, reference(in, graphs + 4), OPERATORS));
            return operators == 0 ? 0 : Math.max(0, in.getInt(operators));
        } catch (IndexOutOfBoundsException damaged) {
            return 0;
        }
    }

    /** Returns the position of a table's field; 0 if the table does not have it. */
    private static int field(ByteBuffer in, int table, int number) {
        int directory = table - in.getInt(table);
        int entry = 4 + 2 * number;
        int offset = entry < (in.getShort(directory) & 0xFFFF) ? in.getShort(directory + entry) & 0xFFFF : 0;
        return offset == 0 ? 0 : table + offset;
    }

    private static int reference(ByteBuffer in, int at) {
        return at == 0 ? 0 : at + in.getInt(at);
    }
}
